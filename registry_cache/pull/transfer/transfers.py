"""The transfers of one process: which one a reader joins, and when one may end because nobody reads it any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from registry_cache.errors import TooManyRequests
from registry_cache.oci.digest import Digest
from registry_cache.policy.range_choice import Running
from registry_cache.pull.source import BlobSource
from registry_cache.pull.transfer.abandoned import MAX_ENDING_PER_CLIENT, Abandoned, choose_to_end
from registry_cache.pull.transfer.failures import RecentFailures
from registry_cache.pull.transfer.parallel_ranges import PartBudget
from registry_cache.pull.transfer.piece_reuse import PieceReuse
from registry_cache.pull.transfer.progress import TransferProgress
from registry_cache.pull.transfer.reader_counts import Note, ReaderCounts
from registry_cache.pull.transfer.transfer import Transfer, TransferParts
from registry_cache.runtime import request_context, unfinished, unwanted_reads
from registry_cache.runtime.log import Log
from registry_cache.runtime.networks import network
from registry_cache.store.piece_files import Pieces

_log = Log(__name__)


class Transfers:
    """The transfers that this process leads, or has readers in."""

    def __init__(
        self,
        parts: TransferParts,
        pieces: Pieces | None = None,
        wait_for_readers: Callable[[], None] = lambda: None,
        note: Note | None = None,
    ) -> None:
        """``wait_for_readers``: called before each request of a download that nobody reads and that has ``pieces``.

        ``note``: where other processes read how many readers there are.
        """
        self._pieces = pieces
        self._wait_for_readers = wait_for_readers
        self.parts = parts
        self._budget = PartBudget()
        self._failures = RecentFailures(parts.partials)
        self._mutex = threading.Lock()
        self._running: dict[Digest, TransferProgress] = {}
        # Those that nobody reads, and those that were told to end and have not yet.
        self._abandoned: dict[TransferProgress, Abandoned] = {}
        self._ending: dict[TransferProgress, Abandoned] = {}
        self._counts = ReaderCounts(note, self._readers) if note else None

    def join(self, digest: Digest, source: BlobSource, client: str = "") -> tuple[TransferProgress, bool]:
        """Become a reader of the transfer of ``digest``; True where it was started for us, from ``source``.

        ``client``: the address of who asks, "" for nobody. Call ``leave``. Raises TooManyRequests where downloads that
        were begun for that client pile up.
        """
        with self._mutex:
            progress = self._running.get(digest)
            started = progress is None or progress.ended
            if progress is None or progress.ended:
                who = network(client)
                self._refuse_too_many(who)
                if progress:
                    # Its own thread is about to; until then it would stand for the new one among the abandoned.
                    self._remove(progress)
                progress = TransferProgress(digest)
                progress.begun_for = Abandoned(digest, source.owner.upstream, who, 0, time.monotonic())
                transfer = self._transfer(progress, source)
                name = f"transfer {digest}"
                request_context.start_thread(name, self._run, progress, transfer)
                # Not before: progress that no thread makes would hold up everybody who asks for this blob.
                self._running[digest] = progress
                if self._counts:
                    self._counts.begin()
            progress.readers += 1
            self._abandoned.pop(progress, None)
            return progress, started

    def find(self, digest: Digest) -> TransferProgress | None:
        """Return the transfer that this process leads or watches, None where there is none; becomes no reader of it."""
        progress = self._running.get(digest)
        return None if progress is None or progress.ended else progress

    def is_under_way(self, digest: Digest) -> bool:
        """Return whether a process of this machine brings ``digest`` just now. Raises StoreError."""
        return self.find(digest) is not None or self.parts.partials.is_led(digest)

    def running(self, upstream: str, digest: Digest, start: int) -> Running | None:
        """Return the download of the whole from this upstream, here or in another process. Raises StoreError.

        One that was interrupted counts where it has the byte at ``start`` already.
        """
        progress = self.find(digest)
        if progress:
            is_ours = progress.owner is None or progress.owner.upstream == upstream
            return Running(progress.available, *progress.recent()) if is_ours else None
        status = self.parts.partials.status(digest)
        if status is None or status.owner.upstream != upstream or status.error:
            return None
        file = self.parts.partials.open(digest)
        # Without a file the leader is at its commit, or has not begun.
        size = file.size() if file else status.size or 0
        return Running(size) if start < size or self.parts.partials.is_led(digest) else None

    def leave(self, progress: TransferProgress) -> None:
        """Stop being a reader."""
        with self._mutex:
            progress.readers -= 1
            _close_if_over(progress)
            if not progress.readers and self._running.get(progress.digest) is progress and progress.begun_for:
                self._abandoned[progress] = progress.begun_for
                self._end_some()

    def _readers(self) -> dict[str, int]:
        return {str(digest): progress.readers for digest, progress in list(self._running.items())}

    def _transfer(self, progress: TransferProgress, source: BlobSource) -> Transfer:
        def yield_to_readers() -> None:
            if not progress.readers:
                self._wait_for_readers()

        reuse = None
        if self._pieces:
            reuse = PieceReuse(progress.digest, source, self._pieces, yield_to_readers)
        return Transfer(progress, source, self.parts, ahead=self._budget, reuse=reuse)

    def _refuse_too_many(self, client: str) -> None:
        ending = sum(each.client == client for each in self._ending.values()) if client else 0
        if ending >= MAX_ENDING_PER_CLIENT:
            raise TooManyRequests(f"{ending} downloads that this client left have not ended yet", retry_after=10)

    def _end_some(self) -> None:
        """End what nobody reads and is too much. Its bytes stay for the next reader."""
        while chosen := choose_to_end(
            [replace(each, size=progress.available) for progress, each in self._abandoned.items()]
        ):
            progress = self._running[chosen.digest]
            self._ending[progress] = self._abandoned.pop(progress)
            self._remove(progress)
            progress.give_up()
            _log.info(
                "ended a download that nobody reads",
                upstream=chosen.upstream,
                client=chosen.client,
                digest=progress.digest,
                bytes=chosen.size,
            )

    def _run(self, progress: TransferProgress, transfer: Transfer) -> None:
        unwanted_reads.CURRENT.set(progress.reads)
        with unfinished.work():
            transfer.run(lambda: self._is_wanted(progress))
        with self._mutex:
            self._remove(progress)
            self._ending.pop(progress, None)
            has_failed = progress.led_here and progress.error is not None
            _close_if_over(progress)
        if has_failed:
            self._failures.note(progress.digest)

    def _is_wanted(self, progress: TransferProgress) -> bool:
        """Return whether somebody reads; what nobody does is taken out, so that the next reader starts another."""
        with self._mutex:
            if not progress.readers:
                self._remove(progress)
            return progress.readers > 0

    def _remove(self, progress: TransferProgress) -> None:
        self._abandoned.pop(progress, None)
        if self._running.get(progress.digest) is progress:
            del self._running[progress.digest]


def _close_if_over(progress: TransferProgress) -> None:
    """Close the file of a transfer that is over for everybody.

    A reader that is sent the rest from upstream still has the progress, but has left: bytes that were discarded would
    take up room on a full disk meanwhile, and more would be evicted in their place.
    """
    if progress.ended and not progress.readers:
        progress.close()
