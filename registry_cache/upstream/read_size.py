"""How many bytes one read of a blob asks for.

A read costs the same for few bytes as for many, so a fast upstream is read in large pieces. Each piece is held in
memory until it is hashed, so a slow upstream is read in small ones, and many bodies at once share one budget.
"""

from __future__ import annotations

import weakref

_KIB, _MIB = 1024, 1024 * 1024

MIN_READ = 64 * _KIB
# Twice as much no longer fits into a core's cache, and takes half as long again (docs/adr/0014).
MAX_READ = 2 * _MIB
# For so many bytes of a document there may be one read more. A packet has three times as many, and a chunk of a single
# byte costs as much work.
_BYTES_A_READ = 512
_FREE_READS = 1024
# What all bodies that a process reads may ask for together, each for MIN_READ at least.
SHARED_BUDGET = 8 * _MIB


def is_in_small_pieces(reads: int, size: int) -> bool:
    """Tell whether ``size`` bytes took more reads than any honest answer does."""
    return reads > _FREE_READS + size // _BYTES_A_READ


_open: weakref.WeakSet[ReadSize] = weakref.WeakSet()


class ReadSize:
    """How much the next read of one body asks for: ``size`` bytes, twice what the last read returned, or half of what
    it asked for where that is more.

    ``reads_ahead``: the body comes fast, and is not at its end, so more may be acknowledged before it is read.
    """

    def __init__(self) -> None:
        self.size = MIN_READ
        self.reads_ahead = False
        _open.add(self)

    def record(self, returned: int) -> None:
        """Adapt to the number of bytes that a read returned."""
        # Whoever reads as fast as upstream sends finds little now and then, and much right after.
        wanted = max(2 * returned, self.size // 2)
        self.size = max(MIN_READ, min(wanted, MAX_READ, SHARED_BUDGET // max(1, len(_open))))
        self.reads_ahead = returned > 0 and self.size > MIN_READ

    def close(self) -> None:
        """Leave this body's share to the others."""
        _open.discard(self)
