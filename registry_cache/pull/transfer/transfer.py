"""A transfer: the thread behind a transfer, which is nobody's request. Clients come and go, it stays.

It leads the download where it gets the claim, and else watches the leader in another process; when that one dies,
whichever transfer gets the claim goes on behind its last byte.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from registry_cache.errors import RegistryError, StoreError, StoreFull
from registry_cache.oci.digest import Digest
from registry_cache.pull.source import BlobSource
from registry_cache.pull.transfer.download import Download
from registry_cache.pull.transfer.parallel_ranges import PartBudget
from registry_cache.pull.transfer.progress import KEPT_FIRST, TransferProgress
from registry_cache.runtime import metrics
from registry_cache.runtime.log import Log
from registry_cache.store.blobs import Blobs
from registry_cache.store.disk import ReadHandle
from registry_cache.store.partials import Claim, DownloadStatus, Partial, Partials, failed_status

# A watcher looks this often at what another process' leader wrote: soon after something came, later seldom.
_FIRST_POLL, _LAST_POLL = 0.005, 0.05

_log = Log(__name__)


class RoomKeeper(Protocol):
    """Who sees to it that there is room for blobs; returns at once."""

    def expect(self, size: int) -> None:
        """Hear that ``size`` bytes are about to be stored. Raises StoreFull where they would never fit."""

    def full(self, digest: Digest, size: int | None) -> None:
        """Hear that the disk refused the blob, of ``size`` bytes, None where that is not known."""


class _Unlimited:
    """Where nobody sees to it."""

    def expect(self, size: int) -> None:
        """There is room."""

    def full(self, digest: Digest, size: int | None) -> None:
        """There is none, and nobody makes any."""


UNLIMITED = _Unlimited()


class Transfer:
    """Fills ``progress`` from ``source``, or from what another process' leader writes."""

    def __init__(
        self,
        progress: TransferProgress,
        source: BlobSource,
        blobs: Blobs,
        partials: Partials,
        room: RoomKeeper = UNLIMITED,
        ahead: PartBudget | None = None,
    ) -> None:
        self._progress = progress
        self._source = source
        self._blobs = blobs
        self._partials = partials
        self._room = room
        self._ahead = ahead
        self._began = time.time()

    def run(self, wanted: Callable[[], bool]) -> None:
        """Return when the transfer has ended, or when another process leads and nothing here is ``wanted`` any more."""
        try:
            while not self._progress.ended:
                claim = self._partials.claim(self._progress.digest)
                if claim:
                    with claim:
                        self._lead(claim)
                elif not self._watch(wanted):
                    return
        except RegistryError as error:
            self._progress.fail(error, None)
        except Exception as error:  # noqa: BLE001 — readers must learn of any end, or they wait in vain
            _log.exception("a transfer ended with a defect", digest=self._progress.digest)
            self._progress.fail(
                StoreError(f"the transfer of {self._progress.digest} broke: {type(error).__name__}"), None
            )

    def _lead(self, claim: Claim) -> None:
        # A second look under the lock: the previous leader may have committed between our miss and our claim.
        if self._adopt_commit() or self._adopt_failure():
            return
        leader = _Leader(self._progress, self._source, claim, self._room)
        self._progress.led_here = True
        try:
            leader.asking()
            with metrics.transferring():
                Download(self._progress.digest, self._source, leader, ahead=self._ahead).run(claim.partial)
        except RegistryError as error:
            leader.failed(error)
            return
        try:
            self._blobs.grant(self._source.upstream, self._source.repository, self._progress.digest)
        except StoreError as error:
            # The bytes are safe; the next pull asks upstream whether this repository contains them.
            _log.debug("could not record a membership", digest=self._progress.digest, error=error)
        claim.remove_status()
        self._adopt_commit()
        leader.arrived(self._progress.size)

    def _watch(self, wanted: Callable[[], bool]) -> bool:
        """Follow the leader until nothing is new, perhaps because it is no more; False when not ``wanted``."""
        pause = _FIRST_POLL
        while wanted():
            if self._adopt_commit():
                return True
            grown = self._adopt_partial()
            if self._progress.ended:
                return True
            time.sleep(pause)
            if not grown and pause >= _LAST_POLL:
                return True
            pause = _FIRST_POLL if grown else min(pause * 2, _LAST_POLL)
        return False

    def _adopt_commit(self) -> bool:
        blob = self._blobs.open_any(self._progress.digest)
        if blob is None:
            return False
        self._progress.commit(_kept(self._progress, blob.file), blob.size)
        return True

    def _adopt_failure(self) -> bool:
        """Take over the error of a leader that failed while we watched it (byte-safety rule 6)."""
        status = self._partials.status(self._progress.digest)
        if status is None or status.error is None or status.at < self._began:
            return False
        self._progress.fail(status.error, (status.upstream, status.repository))
        return True

    def _adopt_partial(self) -> bool:
        """Show what the leader wrote; return whether there was anything new."""
        progress = self._progress
        status = self._partials.status(progress.digest)
        if status is None or status.error:
            return False
        if not status.answered:
            progress.led_by((status.upstream, status.repository))
            return False
        if progress.file is not None and not progress.file.has_name():
            # A second look: a leader that gives up says so before its bytes go. Those that go alone were wrong.
            if self._adopt_failure():
                return False
            progress.restart()
        file = progress.file or self._partials.open(progress.digest)
        if file is None:
            return False
        if progress.file is None or progress.size != status.size:
            progress.answer((status.upstream, status.repository), status.size, file)
        size = file.size()
        # Not what a leader said that a power cut ended: its bytes may be others by now.
        if status.verified and status.at >= self._began and status.size == size:
            return progress.verify(size)
        return progress.advance(size)


class _Leader:
    """Tells our readers and, through the status, other processes how our own download comes along."""

    def __init__(self, progress: TransferProgress, source: BlobSource, claim: Claim, room: RoomKeeper) -> None:
        self._progress = progress
        self._source = source
        self._claim = claim
        self._room = room
        self._owner = source.owner
        self._told: int | None = -1
        self._expected = 0

    def asking(self) -> None:
        """Say for whom upstream is asked; others need not wait for an answer that is not theirs."""
        self._progress.led_by(self._owner)
        self._claim.publish(DownloadStatus(*self._owner, time.time(), answered=False))

    def grown(self, partial: Partial, size: int | None) -> None:
        if self._progress.file is None or size != self._told:
            self._claim.publish(DownloadStatus(*self._owner, time.time(), size))
            self._told = size
            self._expect((size or 0) - partial.size)
            self._progress.answer(self._owner, size, _kept(self._progress, partial.handle()))
        self._progress.advance(partial.size)

    def arrived(self, size: int | None) -> None:
        """All is here; announce the ``size`` that upstream did not tell before."""
        if self._told is None:
            with suppress(StoreFull):
                self._expect(size or 0)

    def verified(self, partial: Partial) -> None:
        if partial.size > KEPT_FIRST:
            self._progress.verify(partial.size)
            self._tell(DownloadStatus(*self._owner, time.time(), partial.size, verified=True))

    def restarted(self) -> None:
        self._progress.restart()

    def _expect(self, size: int) -> None:
        """Announce, once, what is still to come."""
        if size > self._expected:
            self._room.expect(size - self._expected)
            self._expected = size

    def failed(self, error: RegistryError) -> None:
        status = failed_status(*self._owner, error)
        # What the disk refuses has been said, and is so for every blob.
        say = _log.info if isinstance(error, StoreError) else _log.warning
        say("download failed", digest=self._progress.digest, repository=self._source.repository, error=error)
        if isinstance(error, StoreFull) and _no_space(error.__cause__):
            self._room.full(self._progress.digest, self._told if self._told != -1 else None)
        # Before the bytes go: watchers take bytes that went without a word for wrong ones, and cut their readers.
        told = self._tell(status)
        try:
            # On a full disk the bytes so far would be in the way of every later blob, this one included.
            self._claim.discard(only_empty=not isinstance(error, StoreError))
        except StoreError as failure:
            _log.debug("could not discard a partial", digest=self._progress.digest, error=failure)
        if not told:
            self._tell(status)
        self._progress.fail(error, self._owner)

    def _tell(self, status: DownloadStatus) -> bool:
        try:
            self._claim.publish(status)
        except StoreError as failure:
            # Watchers then find the lock free and ask upstream themselves.
            _log.debug("could not tell other processes", digest=self._progress.digest, error=failure)
            return False
        return True


def _no_space(cause: BaseException | None) -> bool:
    """Tell whether it is room that lacks: nothing is evicted for a disk that is broken or read-only."""
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def _kept(progress: TransferProgress, file: ReadHandle) -> ReadHandle:
    """Return the handle that the readers of ``progress`` have, if it is one of the same file as ``file``.

    Another file means that theirs was wrong and fetched again, and cuts them; another handle must not: whoever takes
    over from a dead leader opens the partial that they are reading.
    """
    return progress.file if progress.file and progress.file.is_same_file(file) else file
