"""The statistics as the pages need them: of a day and of a month, and how fast pulls are used up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from registry_cache.stats.calendar import DAY_SECONDS, MONTH_DAYS, day_of
from registry_cache.stats.statistics import Bucket, Statistics
from registry_cache.stats.sums import Sums, total
from registry_cache.ui.chart import OUTCOMES, Chart, Column, draw

# A column of the day's chart: fine enough to see a burst, and few enough to be small.
_COLUMN = 900
HOUR_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Numbers:
    """Sums of the last ``day`` and ``month``; ``hour``: by upstream, how many counted pulls the last one took.

    ``answers``: by upstream, how many seconds its answers took on average in the last hour, or else in the last day.
    """

    day: Sums
    month: Sums
    month_clients: int
    hour: Mapping[str, int]
    answers: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class History:
    """A chart, when it begins, how many seconds a column has, and what its columns were."""

    chart: Chart
    columns: list[Column]
    began: float
    step: int
    days: int

    @property
    def outcomes(self) -> list[str]:
        """The outcomes that occur, in the order in which they are drawn."""
        return [outcome for outcome, _ in self.chart.areas]

    @property
    def is_empty(self) -> bool:
        """Whether nothing was served and nothing fetched in all this time."""
        return not self.outcomes and not self.fetched

    def total(self, outcome: str) -> int:
        return sum(column.served.get(outcome, 0) for column in self.columns)

    @property
    def fetched(self) -> int:
        return sum(column.fetched for column in self.columns)


class NumberReader:
    """Reads them for all pages. Methods raise StoreError."""

    def __init__(self, statistics: Statistics, now: Callable[[], float] = time.time) -> None:
        self._statistics, self._now = statistics, now

    def numbers(self) -> Numbers:
        """Return the numbers of this moment."""
        read, now = self._statistics, self._now()
        month_clients = read.clients_since(now - MONTH_DAYS * DAY_SECONDS)
        hour, day = read.sums(now - HOUR_SECONDS), read.sums(now - DAY_SECONDS)
        answers = {**day.answer_seconds(), **hour.answer_seconds()}
        # Added up each time: a month without its last day would be wrong.
        month = total(each.sums for each in self._days())
        return Numbers(day, month, month_clients, hour.counted_by_upstream(), answers)

    def history(self, days: int) -> History:
        """Return the chart of the last ``days``: of one in quarters of an hour, of more in whole days."""
        if days == 1:
            return _history(self._statistics.series(self._now() - DAY_SECONDS + _COLUMN, _COLUMN), _COLUMN, 1)
        return _history(self._days(), DAY_SECONDS, days)

    def _days(self) -> list[Bucket]:
        first = day_of(self._now()) - MONTH_DAYS + 1
        known = {day_of(each.at): each for each in self._statistics.by_day(first * DAY_SECONDS)}
        empty = partial(Bucket, seconds=DAY_SECONDS, sums=Sums())
        return [known.get(day) or empty(at=float(day * DAY_SECONDS)) for day in range(first, first + MONTH_DAYS)]


def _history(buckets: list[Bucket], step: int, days: int) -> History:
    columns = [
        Column(each.at, {outcome: each.sums.served.get(outcome, 0) for outcome in OUTCOMES}, each.sums.fetched_bytes)
        for each in buckets
    ]
    return History(draw(columns), columns, columns[0].at, step, days)
