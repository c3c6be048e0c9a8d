"""The four large numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC

from registry_cache.stats.sums import Sums
from registry_cache.store.inventory import DiskSpace
from registry_cache.ui.boxes import NOTHING, boxes
from registry_cache.ui.facts import SizeLimits
from registry_cache.ui.numbers import Numbers
from registry_cache.upkeep.live_status import Glance
from registry_cache.upkeep.status import PullCount, UpstreamStatus

GIB, NOW = 1024**3, 40_000.0
DAY = Sums(served={"hit": 9 * GIB, "miss": 1 * GIB}, pulls=1234, clients=7)
NUMBERS = Numbers(DAY, Sums(served={"hit": 90 * GIB}, pulls=56_789), 31, {"docker.io": 31}, {})
PULLS = PullCount(93, 100, 21_600, None, NOW - 60, current=True)
HUB = UpstreamStatus("docker.io", "https://registry-1.docker.io", "ok", PULLS)
OTHER = UpstreamStatus("ghcr.io", "https://ghcr.io", "ok", replace(PULLS, left=5000, limit=5000))
GLANCE = Glance(NOW, UTC, [OTHER, HUB], (), 20 * GIB, DiskSpace(100 * GIB, 60 * GIB), "ok")
LIMITS = SizeLimits(40 * GIB, 5 * GIB)


def test_numbers_first() -> None:
    saved, pulls, left, disk = boxes(NUMBERS, GLANCE, LIMITS, "next to go: used 9 d ago")

    assert (saved.number, saved.unit, saved.percent) == ("9.0", "GiB", 90)
    assert saved.lines == ["90 % came from the cache", "90.0 GiB in 30 days"]
    assert (pulls.number, pulls.lines) == ("1,234", ["by 7 clients", "56,789 by 31 clients in 30 days"])
    assert (disk.number, disk.unit, disk.percent) == ("20.0", "GiB", 50)
    assert disk.lines == ["of 40.0 GiB", "next to go: used 9 d ago"]
    assert (left.number, left.unit, left.percent) == ("93", "of 100", 93)


def test_the_pace_at_which_pulls_are_used_up() -> None:
    left = boxes(NUMBERS, GLANCE, LIMITS, "")[2]
    # 93 of them, at 31 an hour, are three hours; the window is six.
    assert left.lines == ["at docker.io", "31 in the last hour: they end at 14:06"]
    slow = boxes(replace(NUMBERS, hour={"docker.io": 3}), GLANCE, LIMITS, "")[2]
    assert slow.lines[1] == "3 in the last hour: enough until the count begins anew"
    none = boxes(replace(NUMBERS, hour={}), GLANCE, LIMITS, "")[2]
    assert none.lines[1] == "none were taken in the last hour"


def test_a_full_store_has_a_full_bar_without_a_size_too() -> None:
    glance = replace(GLANCE, space=DiskSpace(100 * GIB, 5 * GIB))
    assert boxes(NUMBERS, glance, SizeLimits(None, 5 * GIB), "")[3].percent == 100


def test_what_nobody_knows_is_not_nothing() -> None:
    glance = replace(GLANCE, upstreams=[replace(HUB, pulls=None)], stored=None)
    _, _, left, disk = boxes(NUMBERS, glance, LIMITS, "")
    assert (left.number, disk.number) == (NOTHING, NOTHING)


def test_a_store_that_is_being_counted_says_so_unless_its_disk_keeps_no_count() -> None:
    new = replace(GLANCE, stored=None)
    for store, told in (("ok", "being counted"), ("full", "not counted yet"), ("failing", "not counted yet")):
        disk = boxes(NUMBERS, replace(new, store=store), LIMITS, "")[3]
        assert (disk.number, disk.lines[0]) == ("?", told)
        assert disk.lines[1].endswith(" are free on its disk")
