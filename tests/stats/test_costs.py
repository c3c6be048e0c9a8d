"""What a look at a month costs, once its days were read: no five minutes are added up again."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry_cache.stats import statistics as statistics_module
from registry_cache.stats.calendar import BUCKET_SECONDS, DAY_SECONDS
from registry_cache.stats.day import Day
from registry_cache.stats.files import StatisticsFiles
from registry_cache.stats.statistics import Statistics
from registry_cache.stats.sums import Sums, total
from registry_cache.store.atomic_write import write_whole
from registry_cache.store.layout import Layout
from tests.harness.month import write_month

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


def test_a_months_days_are_read_by_their_first_lines(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    write_month(Path(layout.root))
    files = StatisticsFiles(layout)
    expected = [Day.read(files.day(day)).sums for day in files.known_days()]
    assert all(each.requests and each.clients for each in expected)
    monkeypatch.setattr(Day, "decode", lambda data: pytest.fail("a whole day was read"))
    assert [each.sums for each in Statistics(layout).by_day(0)] == expected


def test_sums_of_a_day_that_an_earlier_version_wrote(layout: Layout) -> None:
    path = StatisticsFiles(layout).day(20_000)
    for text in ('{"version":1,"sums":{"pulls":3}}', '{"version":1,"buckets":{"1728000000":{"pulls":3}},"clients":1}'):
        write_whole(path, text.encode())
        assert [each.sums.pulls for each in Statistics(layout).by_day(0)] == [3]
    write_whole(path, b'{"version":2,"sums":{"pulls":3},\n"new":1}')
    assert [each.sums.pulls for each in Statistics(layout).by_day(0)] == [0]
