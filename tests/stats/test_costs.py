"""What a look at a month costs, once its days were read: no five minutes are added up again."""

from __future__ import annotations

import pytest

from registry_cache.stats import statistics as statistics_module
from registry_cache.stats.day import Day
from registry_cache.stats.days import BUCKET_SECONDS, DAY_SECONDS
from registry_cache.stats.files import StatisticsFiles
from registry_cache.stats.statistics import Statistics
from registry_cache.stats.sums import Sums, total
from registry_cache.store.atomic_write import write_whole
from registry_cache.store.layout import Layout

DAYS = 30
NOW = (20_000 + DAYS) * DAY_SECONDS - 1.0


def test_a_month_is_added_up_by_days(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    files = StatisticsFiles(layout)
    for day in range(20_000, 20_000 + DAYS):
        buckets = {start: Sums(pulls=1) for start in range(day * DAY_SECONDS, (day + 1) * DAY_SECONDS, BUCKET_SECONDS)}
        write_whole(files.day(day), Day(buckets=buckets).encode())
    statistics = Statistics(layout, lambda: NOW)
    first = statistics.series(NOW - DAYS * DAY_SECONDS, 14_400)
    added = 0

    def counted(sums: object) -> Sums:
        nonlocal added
        listed = list(sums)  # type: ignore[call-overload]
        added += len(listed)
        return total(listed)

    monkeypatch.setattr(statistics_module, "total", counted)
    assert statistics.series(NOW - DAYS * DAY_SECONDS, 14_400) == first
    assert sum(each.sums.pulls for each in first) == DAYS * 288
    assert statistics.sums(NOW - DAYS * DAY_SECONDS + DAY_SECONDS / 2).pulls == DAYS * 288 - 143
    # Spans of the series, days, and half a day's five minutes.
    assert added <= DAYS * 6 + DAYS + 145
