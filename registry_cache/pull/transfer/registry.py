"""The transfers of one process: which one a reader joins, and when one may end because nobody reads it any more."""

from __future__ import annotations

import threading

from registry_cache.oci.digest import Digest
from registry_cache.pull.source import BlobSource
from registry_cache.pull.transfer.parallel_ranges import PartBudget
from registry_cache.pull.transfer.progress import TransferProgress
from registry_cache.pull.transfer.transfer import RoomKeeper, Transfer
from registry_cache.store.blobs import Blobs
from registry_cache.store.partials import Partials


class Transfers:
    """The transfers that this process leads, or has readers in."""

    def __init__(self, blobs: Blobs, partials: Partials, room: RoomKeeper | None = None) -> None:
        self._blobs = blobs
        self._partials = partials
        self._room = room
        self._budget = PartBudget()
        self._mutex = threading.Lock()
        self._running: dict[Digest, TransferProgress] = {}

    def join(self, digest: Digest, source: BlobSource) -> tuple[TransferProgress, bool]:
        """Become a reader of the transfer of ``digest``; True where it was started for us, from ``source``.

        Call ``leave``.
        """
        with self._mutex:
            progress = self._running.get(digest)
            started = progress is None or progress.ended
            if progress is None or progress.ended:
                progress = TransferProgress(digest)
                transfer = Transfer(progress, source, self._blobs, self._partials, self._room, self._budget)
                name = f"transfer {digest}"
                threading.Thread(target=self._run, args=(progress, transfer), name=name, daemon=True).start()
                # Not before: progress that no thread makes would hold up everybody who asks for this blob.
                self._running[digest] = progress
            progress.readers += 1
            return progress, started

    def leave(self, progress: TransferProgress) -> None:
        """Stop being a reader."""
        with self._mutex:
            progress.readers -= 1
            _close_if_over(progress)

    def _run(self, progress: TransferProgress, transfer: Transfer) -> None:
        transfer.run(lambda: self._is_wanted(progress))
        with self._mutex:
            self._remove(progress)
            _close_if_over(progress)

    def _is_wanted(self, progress: TransferProgress) -> bool:
        """Return whether somebody reads; what nobody does is taken out, so that the next reader starts another."""
        with self._mutex:
            if not progress.readers:
                self._remove(progress)
            return progress.readers > 0

    def _remove(self, progress: TransferProgress) -> None:
        if self._running.get(progress.digest) is progress:
            del self._running[progress.digest]


def _close_if_over(progress: TransferProgress) -> None:
    """Close the file of a transfer that is over for everybody.

    A reader that is sent the rest from upstream still has the progress, but has left: bytes that were discarded would
    take up room on a full disk meanwhile, and more would be evicted in their place.
    """
    if progress.ended and not progress.readers:
        progress.close()
