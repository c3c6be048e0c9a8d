"""Choose which part of a store to verify in one night, so that several nights verify all of it, without any state.

Digests are spread evenly, so the first digits of a digest modulo the number of parts give its part. Which parts a night
gets follows from the day: each night those after the parts of the night before. The parts of a missed night are
verified when they come round again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# The digits of a digest that decide: enough for any number of parts, and every algorithm has them.
_DIGITS = 15
# More parts than there are blobs make no difference.
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
            raise ValueError("not a share")
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
    """The parts of one night, from number ``first`` on."""

    first: int
    share: Share

    def covers(self, hex: str) -> bool:
        """Tell whether a digest's ``hex`` is of this part."""
        number = int(hex[:_DIGITS], 16) % self.share.total
        return (number - self.first) % self.share.total < self.share.parts
