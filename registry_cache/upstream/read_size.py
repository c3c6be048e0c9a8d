"""How many bytes of a body one read asks for.

What a read costs besides its bytes is the same for few and for many, so a fast upstream is read in large portions. Each
is held in memory from before its first byte to after the last one is hashed, so a slow upstream is read in small ones,
and many bodies at once share what one could have.
"""

from __future__ import annotations

import weakref

_KIB, _MIB = 1024, 1024 * 1024

LEAST = 64 * _KIB
# Twice as much no longer fits into a core's cache, and takes half as long again (docs/adr/0014).
MOST = 2 * _MIB
# What all bodies of a process that are read may ask for, each for LEAST at least.
TOGETHER = 8 * _MIB

_read: weakref.WeakSet[Portion] = weakref.WeakSet()


class Portion:
    """What the next read of one body asks for: ``size`` bytes, twice what the last one brought, or half of what it
    asked for where that is more.
    """

    def __init__(self) -> None:
        self.size = LEAST
        _read.add(self)

    def brought(self, size: int) -> None:
        """Hear what a read brought."""
        # Whoever reads as fast as upstream sends finds little now and then, and much behind it.
        self.size = max(LEAST, min(max(2 * size, self.size // 2), MOST, TOGETHER // max(1, len(_read))))

    def close(self) -> None:
        """Leave to the others what this body had."""
        _read.discard(self)
