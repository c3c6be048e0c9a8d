"""Parse sizes as operators write them: bytes (``200GB``, ``150GiB``, ``1000000``), or a share of a disk. Pure."""

import re
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

UNITS = {
    "": 1,
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGTP", 1)},
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGTP", 1)},
}
_BY_LOWER_CASE = {unit.lower(): factor for unit, factor in UNITS.items()}
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([A-Za-z]*|%)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Size:
    """A number of bytes, or a share of a disk; ``text`` is how it was written."""

    text: str
    amount: Fraction
    share: bool = False

    def bytes_of(self, disk: int) -> int | None:
        """Return the bytes on a disk that holds ``disk`` of them; None for 0, which bounds nothing."""
        return ceil(self.amount * disk if self.share else self.amount) or None

    def __bool__(self) -> bool:
        return self.amount > 0

    def __str__(self) -> str:
        return self.text


def parse_size(text: str) -> Size:
    """Read a size. Raises ValueError, also for ``200G``, which some read as 200 GB and some as 200 GiB."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("not a size")
    number, unit = Fraction(match[1]), match[2]
    if unit == "%":
        if number > 100:
            raise ValueError("more than the whole disk")
        return Size(text, number / 100, share=True)
    if unit.lower() not in _BY_LOWER_CASE:
        raise ValueError(f"a size in an unknown unit, {unit[:10]}")
    return Size(text, number * _BY_LOWER_CASE[unit.lower()])
