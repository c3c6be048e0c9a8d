"""The daily pass: one cleanup a day where nobody else runs one, and none where somebody does."""

from __future__ import annotations

import os

import pytest

from registry_cache.policy.eviction import Bounds
from registry_cache.store.layout import Layout
from registry_cache.upkeep.cleanup import Cleanup
from registry_cache.upkeep.daily_pass import DAY_SECONDS, DailyPass
from tests.harness.cleanup_rig import Shelf

NOW = 1_800_000_000.0


class Rig:
    def __init__(self, layout: Layout) -> None:
        self.now, self.started = NOW, 0
        self.daily = DailyPass(layout, self.start, now=lambda: self.now)

    def start(self) -> None:
        self.started += 1


@pytest.fixture
def rig(layout: Layout) -> Rig:
    return Rig(layout)


def clean(layout: Layout, now: float) -> None:
    assert Cleanup(layout, Bounds(), now).run()


def test_a_store_that_was_never_cleaned(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "registry_cache")
    assert [rig.daily.look() for _ in range(3)] == [True, False, False]
    # Nobody has let a day go by.
    assert [record.message for record in caplog.records] == ["starting the first cleanup of this store"]
    rig.now += DAY_SECONDS + 1
    assert rig.daily.look()
    assert rig.started == 2


def test_a_pass_of_cron_counts(rig: Rig, layout: Layout) -> None:
    clean(layout, NOW - 3600)
    assert not rig.daily.look()
    rig.now += DAY_SECONDS
    assert rig.daily.look()


def test_another_workers_pass_counts(rig: Rig, layout: Layout) -> None:
    other = Rig(layout)
    assert rig.daily.look()
    clean(layout, NOW)
    assert not other.daily.look()


def test_a_dry_run_does_not_count(rig: Rig, layout: Layout) -> None:
    Cleanup(layout, Bounds(), NOW).dry_run()
    assert not os.path.exists(layout.last_cleanup)
    assert rig.daily.look()


def test_a_pass_that_is_stopped_does_not_count(shelf: Shelf) -> None:
    shelf.layer(b"layer")
    layout = shelf.store.layout
    stopped = Cleanup(layout, Bounds(), NOW, in_time=lambda: False).run()
    assert stopped
    assert not stopped.complete
    assert not os.path.exists(layout.last_cleanup)


def test_a_pass_of_a_clock_that_was_ahead_does_not_count(rig: Rig, layout: Layout) -> None:
    clean(layout, NOW + 400 * DAY_SECONDS)
    assert [rig.daily.look() for _ in range(3)] == [True, False, False]
    rig.now -= 400 * DAY_SECONDS
    assert [rig.daily.look() for _ in range(3)] == [True, False, False]


def test_a_clock_that_is_put_back_a_little_starts_none(rig: Rig, layout: Layout) -> None:
    clean(layout, NOW + 3600)
    assert not rig.daily.look()


class Ended(Exception):
    """Ends what has no end."""


def test_it_looks_again_and_again(rig: Rig, layout: Layout) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) > 2:
            raise Ended

    with pytest.raises(Ended):
        DailyPass(layout, rig.start, sleep=sleep).run()

    assert rig.started == 1
    assert all(480 <= seconds <= 720 for seconds in slept)
