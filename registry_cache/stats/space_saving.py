"""The names with the largest amounts, in a fixed number of counters (space-saving, Metwally and others 2005).

What it promises, and why, is in docs/adr/0017-numbers-that-last.md.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TopEntry:
    """A name and its amount, from ``at_least`` to ``at_most``: the same where there were counters for all names."""

    name: str
    at_least: int
    at_most: int


class SpaceSaving:
    """Amounts by name, in at most ``capacity`` counters.

    A name that is not counted has an amount of at most ``floor``.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._counters: dict[str, tuple[int, int]] = {}
        # (count, name), smallest first; an entry whose counter has grown or gone since means nothing any more.
        self._heap: list[tuple[int, str]] = []
        self.floor = 0

    @classmethod
    def of(cls, capacity: int, entries: Iterable[TopEntry], floor: int) -> SpaceSaving:
        """Return the counters that ``entries`` and ``floor`` were read from."""
        found = cls(capacity)
        found.floor = floor
        for each in entries:
            found._set(each.name, each.at_most, each.at_most - each.at_least)
        return found

    def add(self, name: str, amount: int) -> None:
        """Count ``amount`` more, 0 or above, for ``name``."""
        counter = self._counters.get(name)
        if counter is None:
            if len(self._counters) >= self._capacity:
                self._drop_smallest()
            counter = (self.floor, self.floor)
        self._set(name, counter[0] + amount, counter[1])

    def entries(self) -> list[TopEntry]:
        """Return the names with their amounts, largest first."""
        found = [TopEntry(name, at_most - error, at_most) for name, (at_most, error) in self._counters.items()]
        found.sort(key=lambda each: (-each.at_most, each.name))
        return found

    def _set(self, name: str, at_most: int, error: int) -> None:
        self._counters[name] = at_most, error
        heapq.heappush(self._heap, (at_most, name))
        if len(self._heap) > 4 * self._capacity:
            self._heap = [(counter[0], each) for each, counter in self._counters.items()]
            heapq.heapify(self._heap)

    def _drop_smallest(self) -> None:
        while True:
            count, name = heapq.heappop(self._heap)
            if name in self._counters and self._counters[name][0] == count:
                del self._counters[name]
                self.floor = max(self.floor, count)
                return


def merged(lists: Iterable[tuple[list[TopEntry], int]]) -> list[TopEntry]:
    """Return the top of several spans: of each its entries and its floor. By what is certain, largest first.

    A name that one of them does not count may have had as much there as its floor.
    """
    pairs = list(lists)
    least: dict[str, int] = {}
    most: dict[str, int] = {}
    floors = sum(floor for _, floor in pairs)
    for entries, floor in pairs:
        for each in entries:
            least[each.name] = least.get(each.name, 0) + each.at_least
            most[each.name] = most.get(each.name, floors) + each.at_most - floor
    found = [TopEntry(name, amount, most[name]) for name, amount in least.items()]
    found.sort(key=lambda each: (-each.at_least, -each.at_most, each.name))
    return found
