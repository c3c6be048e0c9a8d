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
# What all bodies that a process reads may ask for together, each for MIN_READ at least.
SHARED_BUDGET = 8 * _MIB

_open: weakref.WeakSet[ReadSize] = weakref.WeakSet()


class ReadSize:
    """How much the next read of one body asks for: ``size`` bytes, twice what the last read returned, or half of what
    it asked for where that is more.
    """

    def __init__(self) -> None:
        self.size = MIN_READ
        _open.add(self)

    def record(self, returned: int) -> None:
        """Adapt to the number of bytes that a read returned."""
        # Whoever reads as fast as upstream sends finds little now and then, and much right after.
        wanted = max(2 * returned, self.size // 2)
        self.size = max(MIN_READ, min(wanted, MAX_READ, SHARED_BUDGET // max(1, len(_open))))

    def close(self) -> None:
        """Leave this body's share to the others."""
        _open.discard(self)
