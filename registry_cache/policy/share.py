"""Which part of a store one night looks at, so that some nights see all of it. Nothing is remembered between them.

Digests are spread evenly, so a share is by the first letters of a digest modulo the number of parts, and which of the
parts follows from the day: parts in a row, one night's behind the night's before. A night that is missed is made up for
when its parts come round again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Of a digest, these letters decide: enough for any number of parts, and every algorithm has them.
_LETTERS = 15
# A store of one blob a part is no smaller for more of them.
_MOST_PARTS = 10**6

_SHARE = re.compile(r"([0-9]{1,7})/([0-9]{1,7})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Share:
    """``parts`` of ``total`` a night."""

    parts: int = 1
    total: int = 1

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read a share such as ``1/30``. Raises ValueError."""
        match = _SHARE.fullmatch(text)
        if match is None or not 0 < int(match[1]) <= int(match[2]) <= _MOST_PARTS:
            raise ValueError("no share")
        return cls(int(match[1]), int(match[2]))

    def on(self, day: int) -> Part:
        """Return the part of the ``day``, counted from any day on."""
        return Part(day * self.parts % self.total, self)

    @property
    def nights(self) -> int:
        """How many nights in a row see everything."""
        return -(-self.total // self.parts)

    def __str__(self) -> str:
        return f"{self.parts}/{self.total}"


@dataclass(frozen=True, slots=True)
class Part:
    """Those of ``share`` that begin with number ``first``."""

    first: int
    share: Share

    def covers(self, hex: str) -> bool:
        """Tell whether a digest's ``hex`` is of this part."""
        number = int(hex[:_LETTERS], 16) % self.share.total
        return (number - self.first) % self.share.total < self.share.parts


EVERYTHING = Part(0, Share())
