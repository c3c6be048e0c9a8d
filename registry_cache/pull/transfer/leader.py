"""What a download that this process leads tells our readers, and other processes through its status."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Protocol

from registry_cache.errors import RegistryError, StoreError, UpstreamError
from registry_cache.oci.digest import Digest
from registry_cache.pull.cluster.download import NearBlob
from registry_cache.pull.source import BlobSource, RangeResponse
from registry_cache.pull.transfer.piece_reuse import PieceReuse
from registry_cache.pull.transfer.progress import COMMIT_FIRST_SIZE, TransferProgress
from registry_cache.runtime.log import Log
from registry_cache.store import disk
from registry_cache.store.download_status import DownloadStatus, failed_status
from registry_cache.store.partial_downloads import Claim, Partial

# Of bytes that an upstream's redirect brought from inside our network, so many are kept back: whatever answers there is
# mostly shorter, and then no client sees a byte of it unless the digest proves all. A client of a registry whose blobs
# are on a neighbouring host waits for so much before its first byte. So with what came encoded, and is read by a guess:
# a second try then reads it in the other way, and no client has been cut. All of it is kept back where nothing hints at
# the right way.
HELD_SIZE = 512 * 1024

_log = Log(__name__)


class GivenUp(RegistryError):
    """Nobody reads the download, and it was told to end."""


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


class Leader:
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
        self._claim.publish(DownloadStatus(self._owner, time.time(), answered=False))

    def _refuse_given_up(self) -> None:
        if self._progress.is_given_up:
            raise GivenUp(f"the download of {self._progress.digest} was ended, for nobody read it")

    def _ask_upstream(self, start: int, again: bool, stop: int | None = None) -> RangeResponse:
        self._refuse_given_up()
        return self._source.open(start, again, stop)

    def on_bytes(self, partial: Partial, size: int | None) -> None:
        self._refuse_given_up()
        if self._progress.file is None and self._is_held(partial.size):
            self._size = self._progress.kept_back = partial.size
            self._begin_count(partial.size, size)
            if self._incoming:
                self._incoming.arrived(partial.size)
            return
        if self._progress.file is None or size != self._announced:
            self._claim.publish(DownloadStatus(self._owner, time.time(), size))
            self._announced = size
            self._begin_count(partial.size, size)
            self._progress.is_near = (self._near is not None and self._near.is_near) or self._source.was_near()
            self._progress.answer(self._owner, size, self._progress.reuse_handle(partial.handle()))
        self._size = partial.size
        if self._incoming:
            self._incoming.arrived(partial.size)
        self._progress.advance(partial.size)

    def _is_held(self, size: int) -> bool:
        """Whether the first ``size`` bytes are kept from readers."""
        is_doubtful = self._source.is_guess() or self._source.inside_error() is not None
        return self._source.is_blind() or (is_doubtful and size < HELD_SIZE)

    def on_verified(self, partial: Partial) -> None:
        if self._incoming:
            self._incoming.arrived(partial.size, is_whole=True)
        if partial.size > COMMIT_FIRST_SIZE and self._progress.file:
            self._progress.show_verified(partial.size)
            self._publish(DownloadStatus(self._owner, time.time(), partial.size, verified=True))

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
        status = failed_status(self._owner, error)
        if self._near:
            # Before readers are told, followers on other nodes among them: they look for the reason at once.
            self._near.failed(error)
        # What the disk refuses has been logged already, and holds for every blob.
        say = _log.info if isinstance(error, StoreError) else _log.warning
        say("download failed", digest=self._progress.digest, repository=self._source.owner.repository, error=error)
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
