"""A blob that is being downloaded, as one client follows it: out of the growing file, or past a disk that fails."""

from __future__ import annotations

import time
from collections.abc import Iterator

from registry_cache.errors import RegistryError, StoreError, UpstreamCorrupt, UpstreamUnavailable
from registry_cache.pull.blob_body import Cut, FilePart
from registry_cache.pull.reader_slots import ReaderSlots
from registry_cache.pull.source import SourceOf, WantedBlob, source_of
from registry_cache.pull.target import PullTarget
from registry_cache.pull.transfer.progress import TransferProgress
from registry_cache.pull.transfer.transfers import Transfers
from registry_cache.pull.uncached.body import UncachedBlob
from registry_cache.pull.uncached.shared_streams import SharedStreams
from registry_cache.runtime import request_context
from registry_cache.runtime.log import Log
from registry_cache.store.disk import ReadHandle

# What goes out in one piece from the descriptor; nobody holds it in memory.
LARGEST_PART = 1024 * 1024

_log = Log(__name__)


class GrowingBlob:
    """A reader of a transfer that has bytes already, with a slot of its own; ``close`` gives both back.

    ``size`` is what upstream announced. It may say another later, and then that was wrong.
    """

    stored = False

    def __init__(
        self,
        transfers: Transfers,
        slots: ReaderSlots,
        streams: SharedStreams,
        progress: TransferProgress,
        target: PullTarget,
        source_of: SourceOf = source_of,
    ) -> None:
        self._transfers = transfers
        self._slots = slots
        self._streams = streams
        self._progress = progress
        self._target = target
        self._source_of = source_of
        self._open = True
        self.size = progress.size

    def parts(self, start: int, stop: int | None, *, from_file: bool) -> Iterator[bytes | FilePart]:
        file: ReadHandle | None = None
        at = start
        if stop is not None and self.size is not None and stop < self.size:
            # A part that ends before the blob does is complete before that is verified.
            with request_context.waiting():
                self._progress.wait_for_near_verdict()
        while stop is None or at < stop:
            part: bytes | FilePart
            try:
                if from_file:
                    file, part = self._progress.part(file, at, self._length(at, stop, LARGEST_PART))
                else:
                    file, part = self._progress.read(file, at, self._length(at, stop, self._slots.chunk_size()))
                self._check_size()
            except Cut as cut:
                if not isinstance(cut.error, StoreError):
                    raise
                yield from self._uncached(file, at, stop)
                return
            if not part:
                break
            at += len(part)
            yield part
            if isinstance(part, FilePart) and part.stop < at:
                yield from self._uncached(file, part.stop, stop)
                return
            # A reader that its socket never holds up would hold up all others of a gevent worker.
            time.sleep(0)
        if stop is not None and at < stop:
            digest = self._progress.digest
            raise Cut(UpstreamUnavailable(f"{digest} has {at} bytes, upstream had announced {stop}"))

    def wait_for_size(self) -> None:
        """Return when the blob is verified and ``size`` known for certain. Raises the transfer's error, Cut."""
        self._progress.wait_for_verdict()
        if self._progress.error:
            raise self._progress.error
        self.size = self._progress.size

    wait_until_stored = wait_for_size

    def close(self) -> None:
        if self._open:
            self._open = False
            self._transfers.leave(self._progress)
            self._slots.give_back()

    def _length(self, at: int, stop: int | None, length: int) -> int:
        """Return how many bytes to read from ``at``; where they are the announced end, wait until it is the true one.

        The last byte of what there is is withheld. If upstream announced too little, that is behind our end.
        """
        if stop is None:
            return length
        if stop != self.size or self._progress.verified:
            return min(length, stop - at)
        if at + 1 < stop:
            return min(length, stop - 1 - at)
        self._progress.wait_for_verdict()
        return 1

    def _check_size(self) -> None:
        progress = self._progress
        if self.size is not None and progress.size != self.size and not progress.error:
            raise Cut(
                UpstreamCorrupt(f"upstream announced {self.size} bytes of {progress.digest}, then {progress.size}")
            )

    def _uncached(self, file: ReadHandle | None, at: int, stop: int | None) -> Iterator[bytes]:
        """Yield what follows ``at``, behind what our client has of ``file``, from where it needs no disk."""
        digest = self._progress.digest
        _log.info("streaming a blob through, uncached", digest=digest, at=at)
        try:
            blob = UncachedBlob(
                self._streams,
                digest,
                self._source_of(WantedBlob(self._target, digest)),
                # It was proven before we were made.
                lambda: None,
                after=self._progress.hashes.place(file, at) if file else None,
                announced=self.size,
            )
        except RegistryError as error:
            raise Cut(error) from error
        try:
            yield from blob.parts(at, stop, from_file=False)
        finally:
            blob.close()
