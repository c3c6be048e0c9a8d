"""Where a request without an end reaches what somebody else fetches ahead of it."""

from __future__ import annotations

from registry_cache.policy.range_choice import MIN_GAIN_SECONDS, NEAR_SIZE
from registry_cache.pull.transfer.piece_reuse import PieceReuse
from registry_cache.store.piece_file import PieceFile

# How soon to look for pieces that somebody fetches ahead, in bytes and in seconds, and how far. Who fetches them is
# further ahead than this (``policy/range_choice.py``), or the download would run into them and have them sent again; by
# half the seconds, as a machine may be busy. More often would cost a fast line a percent.
LOOK_EVERY, LOOK_AHEAD = NEAR_SIZE, 16 * 1024 * 1024
LOOK_SECONDS = MIN_GAIN_SECONDS / 2


class PieceLookout:
    """Looks now and then for pieces ahead of a download that has claimed nothing and is at ``at``.

    ``file``: in which there are some, None before they were seen.
    """

    def __init__(self, reuse: PieceReuse, at: int) -> None:
        self.file: PieceFile | None = None
        self._reuse = reuse
        self._looked_at, self._looked = at, reuse.clock()
        self._meets_at: int | None = None

    def meets(self, at: int, file: PieceFile | None, size: int | None) -> bool:
        """Tell whether the download, by now at ``at`` of a blob of ``size`` bytes, has got to a piece; look if due.

        A block of reading may go beyond what was seen: that ends the request, or it would go beyond all that follows.
        """
        is_due = at - self._looked_at >= LOOK_EVERY or self._reuse.clock() - self._looked >= LOOK_SECONDS
        if is_due and not self.has_met(at):
            self._look(at, file or self._reuse.find(), size)
        return self.has_met(at)

    def has_met(self, at: int) -> bool:
        """Tell whether a piece that was seen is at ``at`` or before."""
        return self._meets_at is not None and at >= self._meets_at

    def forget(self) -> None:
        """Begin anew behind the piece."""
        self._meets_at = None

    def _look(self, at: int, file: PieceFile | None, size: int | None) -> None:
        self._looked_at, self._looked = at, self._reuse.clock()
        if file is None or file.size != size or not self._reuse.is_ours(file):
            return
        self.file = file
        ahead = min(file.size, at + LOOK_AHEAD)
        try:
            free = file.free_until(at, ahead) if at < ahead else ahead
        except OSError as error:
            self._reuse.give_up(error)
            return
        self._meets_at = free if free < ahead else None
