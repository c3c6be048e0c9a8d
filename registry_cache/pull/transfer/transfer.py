"""The thread that brings one blob here. It belongs to no request, so clients may come and go.

It leads the download where it gets the claim, and else watches the leader in another process; when that one dies,
whichever transfer gets the claim goes on behind its last byte.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from registry_cache.errors import RegistryError, StoreError, UpstreamCorrupt, UpstreamError
from registry_cache.oci.digest import Digest
from registry_cache.pull.near import LeaderFailed, NearBlob
from registry_cache.pull.source import BlobSource, RangeResponse
from registry_cache.pull.transfer.download import Download
from registry_cache.pull.transfer.parallel_ranges import PartBudget
from registry_cache.pull.transfer.piece_reuse import PieceReuse
from registry_cache.pull.transfer.progress import COMMIT_FIRST_SIZE, TransferProgress
from registry_cache.pull.transfer.stitched import open_stitched
from registry_cache.pull.wrong_bytes import Rests
from registry_cache.runtime import metrics
from registry_cache.runtime.log import Log
from registry_cache.store import disk
from registry_cache.store.blobs import Blobs
from registry_cache.store.disk import ReadHandle
from registry_cache.store.partials import Claim, DownloadStatus, Partial, Partials, failed_status

# How often a watcher looks at what another process' leader wrote: often after something came, then less.
_FIRST_POLL, _LAST_POLL = 0.005, 0.05

# Of bytes that an upstream's redirect brought from inside our network, so many are kept back: whatever answers there is
# mostly shorter, and then no client sees a byte of it unless the digest proves all. A client of a registry whose blobs
# are on a neighbouring host waits for so much before its first byte.
HELD_SIZE = 512 * 1024

_log = Log(__name__)


class GivenUp(RegistryError):
    """Nobody reads the download, and it was told to end."""


# Makes what shares one download with the other nodes of a cluster.
Share = Callable[[Digest, BlobSource], NearBlob]


class Incoming(Protocol):
    """Makes room for the bytes of one download, as they come."""

    def announced(self, size: int) -> None:
        """Called when upstream says that the blob has ``size`` bytes. Raises StoreFull where that is too much."""

    def arrived(self, size: int, *, is_whole: bool = False) -> None:
        """Called when ``size`` bytes are here, after each piece and when it ``is_whole``. Raises StoreFull."""

    def ended(self, size: int) -> None:
        """Called when a download fails of which ``size`` bytes stay here."""


class RoomKeeper(Protocol):
    """Makes room for blobs."""

    def incoming(self, size: int) -> Incoming:
        """Called when a download begins that found ``size`` bytes of its blob here."""

    def full(self, digest: Digest, size: int) -> None:
        """Called when the disk refused the blob after ``size`` bytes."""


class Transfer:
    """Fills ``progress`` from ``source``, or from what another process' leader writes."""

    def __init__(
        self,
        progress: TransferProgress,
        source: BlobSource,
        blobs: Blobs,
        partials: Partials,
        room: RoomKeeper | None = None,
        ahead: PartBudget | None = None,
        rests: Rests | None = None,
        reuse: PieceReuse | None = None,
        share: Share | None = None,
    ) -> None:
        self._progress = progress
        self._reuse = reuse
        self._source = source
        self._blobs = blobs
        self._partials = partials
        self._room = room
        self._ahead = ahead
        self._rests = rests
        self._share = share
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
        except Exception as error:  # noqa: BLE001 — readers must learn of any end, or they wait for nothing
            _log.exception("a transfer ended with a defect", digest=self._progress.digest)
            self._progress.fail(
                StoreError(f"the transfer of {self._progress.digest} broke: {type(error).__name__}"), None
            )

    def _lead(self, claim: Claim) -> None:
        # A second look under the lock: the previous leader may have committed between our miss and our claim.
        if self._adopt_commit() or self._adopt_failure():
            return
        near = self._share(self._progress.digest, self._registry()) if self._share else None
        source = near.source if near else self._registry()
        leader = _Leader(self._progress, source, claim, self._room, self._reuse, near)
        self._progress.led_here = True
        try:
            leader.ask()
            with metrics.count_transfer():
                Download(self._progress.digest, leader.source, leader, ahead=self._ahead).run(claim.partial)
            if self._reuse:
                self._reuse.discard_all()
        except GivenUp as error:
            leader.give_up(error)
            return
        except LeaderFailed as failure:
            leader.fail(failure.error)
            return
        except RegistryError as error:
            if self._rests and isinstance(error, UpstreamCorrupt) and not self._source.inside_error():
                self._rests.begin(self._source.owner, self._progress.digest)
            leader.fail(error)
            return
        except BaseException:
            if near:
                near.given_up()
            raise
        if self._rests:
            self._rests.end(self._source.owner, self._progress.digest)
        try:
            self._blobs.grant(self._source.upstream, self._source.repository, self._progress.digest)
            self._source.on_commit()
        except StoreError as error:
            # The bytes are safe; the next pull asks upstream whether this repository contains them.
            _log.debug("could not record a membership", digest=self._progress.digest, error=error)
        claim.remove_status()
        self._adopt_commit()
        if near:
            near.committed()

    def _registry(self) -> BlobSource:
        """Return what upstream gives, and the pieces of it that are here already."""
        return replace(self._source, open=partial(open_stitched, self._reuse)) if self._reuse else self._source

    def _watch(self, wanted: Callable[[], bool]) -> bool:
        """Follow the leader until nothing new comes, as when it has died; False when not ``wanted``."""
        pause = _FIRST_POLL
        while wanted():
            if self._adopt_commit():
                return True
            has_new = self._adopt_partial()
            if self._progress.ended:
                return True
            time.sleep(pause)
            if not has_new and pause >= _LAST_POLL:
                return True
            pause = _FIRST_POLL if has_new else min(pause * 2, _LAST_POLL)
        return False

    def _adopt_commit(self) -> bool:
        blob = self._blobs.open_any(self._progress.digest)
        if blob is None:
            return False
        self._progress.commit(_reuse_handle(self._progress, blob.file), blob.size)
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
            progress.set_owner((status.upstream, status.repository))
            return False
        if progress.file is not None and not progress.file.has_name():
            # A second look: a leader that gives up says so before it removes its bytes. Without that, they were wrong.
            if self._adopt_failure():
                return False
            progress.cut_readers()
        file = progress.file or self._partials.open(progress.digest)
        if file is None:
            return False
        if progress.file is None or progress.size != status.size:
            progress.answer((status.upstream, status.repository), status.size, file)
        size = file.size()
        # Not a statement from before a power cut: the bytes may be different now.
        if status.verified and status.at >= self._began and status.size == size:
            return progress.show_verified(size)
        return progress.advance(size)


class _Leader:
    """Tells our readers, and other processes through the status, how our own download goes."""

    def __init__(
        self,
        progress: TransferProgress,
        source: BlobSource,
        claim: Claim,
        room: RoomKeeper | None,
        reuse: PieceReuse | None,
        near: NearBlob | None,
    ) -> None:
        self._near = near
        self._progress = progress
        self._reuse = reuse
        self._source = source
        self._claim = claim
        self._room = room
        self._owner = source.owner
        self.source = replace(source, open=self._ask_upstream)
        self._announced: int | None = -1
        self._incoming: Incoming | None = None
        self._size = 0

    def ask(self) -> None:
        """Say for whom upstream is asked: requests for another repository need not wait for that answer."""
        self._progress.set_owner(self._owner)
        self._claim.publish(DownloadStatus(*self._owner, time.time(), answered=False))

    def _refuse_given_up(self) -> None:
        if self._progress.is_given_up:
            raise GivenUp(f"the download of {self._progress.digest} was ended, for nobody read it")

    def _ask_upstream(self, start: int, again: bool, stop: int | None = None) -> RangeResponse:
        self._refuse_given_up()
        return self._source.open(start, again, stop)

    def on_bytes(self, partial: Partial, size: int | None) -> None:
        self._refuse_given_up()
        if self._progress.file is None and partial.size < HELD_SIZE and self._source.inside_error():
            self._size = partial.size
            return
        if self._progress.file is None or size != self._announced:
            self._claim.publish(DownloadStatus(*self._owner, time.time(), size))
            self._announced = size
            self._begin_count(partial.size, size)
            self._progress.is_near = (self._near is not None and self._near.is_near) or self._source.was_near()
            self._progress.answer(self._owner, size, _reuse_handle(self._progress, partial.handle()))
        self._size = partial.size
        if self._incoming:
            self._incoming.arrived(partial.size)
        self._progress.advance(partial.size)

    def on_verified(self, partial: Partial) -> None:
        if self._incoming:
            self._incoming.arrived(partial.size, is_whole=True)
        if partial.size > COMMIT_FIRST_SIZE and self._progress.file:
            self._progress.show_verified(partial.size)
            self._publish(DownloadStatus(*self._owner, time.time(), partial.size, verified=True))

    def on_wrong(self) -> bool:
        # Before the bytes go and readers are cut: those on other nodes must find out why.
        return self._near is None or self._near.wrong_bytes()

    def on_restart(self) -> bool:
        self._size = 0
        had_pieces = self._reuse is not None and self._reuse.discard()
        self._progress.cut_readers()
        return had_pieces

    def _begin_count(self, here: int, announced: int | None) -> None:
        if self._room and self._incoming is None:
            self._incoming = self._room.incoming(here)
        if self._incoming and announced is not None:
            self._incoming.announced(announced)

    def give_up(self, error: GivenUp) -> None:
        """End without a word to other processes: who follows there claims the partial and goes on with it."""
        if self._incoming:
            self._incoming.ended(self._size)
        if self._near:
            self._near.given_up()
        self._progress.fail(error, self._owner)

    def fail(self, error: RegistryError) -> None:
        if isinstance(error, UpstreamError):
            error = self._source.inside_error() or error
        status = failed_status(*self._owner, error)
        if self._near:
            # Before readers are told, followers on other nodes among them: they look for the reason at once.
            self._near.failed(error)
        # What the disk refuses has been logged already, and holds for every blob.
        say = _log.info if isinstance(error, StoreError) else _log.warning
        say("download failed", digest=self._progress.digest, repository=self._source.repository, error=error)
        if self._incoming:
            # On a full disk the bytes so far are discarded below.
            self._incoming.ended(0 if isinstance(error, StoreError) else self._size)
        if self._room and disk.is_full(error):
            self._room.full(self._progress.digest, self._size)
        # Before the bytes are removed: if they vanish without a status, watchers take them for wrong and cut readers.
        published = self._publish(status)
        try:
            # On a full disk the bytes so far would be in the way of every later blob, this one included.
            self._claim.discard(only_empty=not isinstance(error, StoreError))
        except StoreError as failure:
            _log.debug("could not discard a partial", digest=self._progress.digest, error=failure)
        if not published:
            self._publish(status)
        self._progress.fail(error, self._owner)

    def _publish(self, status: DownloadStatus) -> bool:
        try:
            self._claim.publish(status)
        except StoreError as failure:
            # Watchers then find the lock free and ask upstream themselves.
            _log.debug("could not tell other processes", digest=self._progress.digest, error=failure)
            return False
        return True


def _reuse_handle(progress: TransferProgress, file: ReadHandle) -> ReadHandle:
    """Return the handle that the readers of ``progress`` have, if it is one of the same file as ``file``.

    Another file means that theirs was wrong and fetched again, and cuts them; another handle must not: whoever takes
    over from a dead leader opens the partial that they are reading.
    """
    return progress.file if progress.file and progress.file.is_same_file(file) else file
