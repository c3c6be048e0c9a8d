"""Write the journal: pieces of bounded size, the oldest of which are removed to make room."""

from __future__ import annotations

from dataclasses import dataclass

from registry_cache.stats.calendar import day_of
from registry_cache.stats.files import StatisticsFiles
from registry_cache.store import disk
from registry_cache.store.tail_file import append_at

# Pieces of the whole: what makes room takes a sixteenth with it.
_PIECES = 16


@dataclass(frozen=True, slots=True)
class JournalBounds:
    """How long requests for manifests are known one by one, and in how many bytes at most; 0 days: not at all."""

    days: int
    size: int

    @property
    def is_on(self) -> bool:
        return self.days > 0 and self.size > 0


class JournalFile:
    """The journal of one store, for the one process that writes it."""

    def __init__(self, files: StatisticsFiles, bounds: JournalBounds) -> None:
        self._files = files
        self._bounds = bounds

    def append(self, day: int, end: tuple[int, int], lines: bytes, now: float) -> tuple[int, int]:
        """Write ``lines`` of one day after ``end``, a piece and an offset in it, and return the new end.

        What lies after ``end`` was not folded and is replaced. Raises OSError.
        """
        piece, offset = end
        if not self._bounds.is_on or not lines:
            return end
        if offset >= self._bounds.size // _PIECES:
            piece, offset = piece + 1, 0
            # Within an hour a busy server could write many times what it may.
            self.expire(now)
        return piece, append_at(self._files.journal_piece(day, piece), offset, lines)

    def expire(self, now: float) -> None:
        """Remove what is too old or too much; all of it where the journal is off. Raises OSError."""
        pieces = self._files.journal_pieces()
        room = self._bounds.size if self._bounds.is_on else 0
        for day, _, path in reversed(pieces):
            found = disk.stat(path)
            room -= found.st_size if found else 0
            if room < 0 or day <= day_of(now) - self._bounds.days:
                disk.remove(path)
