"""The numbers of a month, as the pages read them."""

from __future__ import annotations

import time
from pathlib import Path

from registry_cache.stats.calendar import MONTH_DAYS, day_of
from registry_cache.stats.day import Day
from registry_cache.stats.files import StatisticsFiles
from registry_cache.stats.statistics import Statistics
from registry_cache.stats.sums import Sums, total
from registry_cache.store.atomic_write import write_whole
from registry_cache.store.layout import Layout
from registry_cache.ui.numbers import NumberReader
from registry_cache.ui.tops import gone_rows, top_table
from tests.harness.month import CLIENTS, DAYS, GONE, IMAGES, write_month


def test_a_month(tmp_path: Path) -> None:
    written = write_month(tmp_path)
    statistics = Statistics(Layout(tmp_path))
    reader = NumberReader(statistics)

    numbers = reader.numbers()
    assert numbers.month.served == written.served
    assert (numbers.month.pulls, numbers.month_clients) == (written.pulls, len(CLIENTS))

    day, month = reader.history(1), reader.history(MONTH_DAYS)
    assert (len(day.columns), day.step, len(month.columns)) == (96, 900, 30)
    assert month.fetched == written.fetched_bytes
    assert {name: month.total(name) for name in month.outcomes} == written.served
    assert 0 < sum(column.total for column in day.columns) <= numbers.day.served_bytes


def test_a_month_is_never_less_than_its_last_day(layout: Layout) -> None:
    """Also in the minute after somebody has looked."""
    now, files = time.time(), StatisticsFiles(layout)
    reader = NumberReader(Statistics(layout))
    assert reader.numbers().month.pulls == 0

    sums = Sums(served={"near": 5, "miss": 7}, pulls=3)
    write_whole(files.day(day_of(now)), Day(buckets={int(now) // 300 * 300: sums}, sums=sums).encode())
    numbers = reader.numbers()
    assert (numbers.day.pulls, numbers.month.pulls) == (3, 3)
    # What another node has sent was saved, and is drawn.
    assert (numbers.day.saved_bytes, reader.history(1).total("near")) == (5, 5)
    assert reader.history(1).outcomes == ["near", "miss"]


def test_answers_of_the_last_hour_count_and_older_ones_where_there_are_none(layout: Layout) -> None:
    now = time.time()
    slot = int(now) // 300 * 300
    old = {"quiet.example": 2, "busy.example": 1}
    early = Sums(answered=old, answer_ms={"quiet.example": 3000, "busy.example": 9000})
    late = Sums(answered={"busy.example": 4}, answer_ms={"busy.example": 1000})
    files = StatisticsFiles(layout)
    for at, sums in ((slot - 7200, early), (slot, late)):
        day = Day.read(files.day(day_of(at)))
        buckets = {**day.buckets, at: sums}
        write_whole(files.day(day_of(at)), Day(buckets=buckets, sums=total(buckets.values())).encode())
    numbers = NumberReader(Statistics(layout)).numbers()
    assert numbers.answers == {"quiet.example": 1.5, "busy.example": 0.25}


def test_lists(tmp_path: Path) -> None:
    write_month(tmp_path)
    statistics = Statistics(Layout(tmp_path))
    now = statistics.series(0, 86_400)[-1].at

    table = top_table(statistics, "saved", now, most=3)
    assert [row.name for row in table.rows] == IMAGES[:3]
    assert [row.percent for row in table.rows] == [100, 50, 33]
    assert table.rows[0].href == f"images/{IMAGES[0]}"
    words = {kind: top_table(statistics, kind, now).rows[-1].words for kind in ("missed", "clients")}
    assert words == {"missed": "50 times", "clients": "66 requests"}
    [gone] = gone_rows(statistics, now + 86_399)
    assert (gone.client, gone.words.split(";")[0]) == (GONE, f"came on {DAYS - 4} days")


def test_a_store_that_has_counted_nothing(tmp_path: Path) -> None:
    statistics = Statistics(Layout.open(tmp_path))
    reader = NumberReader(statistics)
    assert (reader.numbers().day.pulls, reader.history(1).chart.areas) == (0, [])
    assert list(top_table(statistics, "clients", 0).rows) == []
    assert gone_rows(statistics, 0.0) == []
