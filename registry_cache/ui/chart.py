"""The chart's geometry: what was served, stacked by outcome, and what was fetched, as a line. Pure.

In a box that is as wide as there are columns, and ``HEIGHT`` high; the page stretches it. Words stand beside it, where
nothing stretches them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HEIGHT = 400

# From the bottom up: what saved most lies lowest, where areas are compared most easily.
OUTCOMES = ("hit", "revalidated", "join", "near", "stale", "miss")

# A scale's top is the first of these, times a power of 1024, that holds the highest point: its halves are round, too.
_ROUND = (1, 2, 4, 10, 20, 40, 100, 200, 400, 1024)


@dataclass(frozen=True, slots=True)
class Column:
    """What was ``served`` by outcome and ``fetched``, in bytes, in the span that begins ``at`` that second."""

    at: float
    served: dict[str, int]
    fetched: int

    @property
    def total(self) -> int:
        return sum(self.served.values())


@dataclass(frozen=True, slots=True)
class Chart:
    """``areas``: (outcome, SVG path) of those that occur; ``line``: the SVG path of what was fetched.

    ``width``: how many columns there are; ``top``: bytes at the upper edge.
    """

    areas: Sequence[tuple[str, str]]
    line: str
    width: int
    top: int


def draw(columns: Sequence[Column]) -> Chart:
    """Return the chart of at least one column, oldest first."""
    top = _round_up(max(max(column.total, column.fetched) for column in columns))
    base = [0] * len(columns)
    areas = []
    for outcome in OUTCOMES:
        upper = [low + column.served.get(outcome, 0) for low, column in zip(base, columns, strict=True)]
        if upper != base:
            areas.append((outcome, _area(base, upper, top)))
        base = upper
    return Chart(areas, _steps([column.fetched for column in columns], top), len(columns), top)


def _round_up(highest: int) -> int:
    unit = 1
    while highest > unit * 1024:
        unit *= 1024
    return unit * next(each for each in _ROUND if highest <= unit * each)


def _area(lower: Sequence[int], upper: Sequence[int], top: int) -> str:
    back = [_height(value, top) for value in lower]
    steps = "".join(f"V{height}H{number}" for number, height in reversed(list(enumerate(back))))
    return f"{_steps(upper, top)}{steps}Z"


def _steps(values: Sequence[int], top: int) -> str:
    """Return steps, not slopes: a sum belongs to all of its span."""
    heights = [_height(value, top) for value in values]
    return f"M0 {heights[0]}" + "".join(f"V{height}H{number}" for number, height in enumerate(heights, 1))


def _height(value: int, top: int) -> int:
    return round(HEIGHT - HEIGHT * value / top)
