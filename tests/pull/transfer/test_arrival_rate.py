"""How fast bytes arrive now."""

from __future__ import annotations

from registry_cache.pull.transfer.arrival_rate import ArrivalRate
from tests.harness.pull_rig import Clock


def test_only_what_came_lately_counts() -> None:
    clock = Clock()
    rate = ArrivalRate(clock)
    assert rate.recent(0) == (0, 0.0)

    # What an earlier download left is here when upstream answers.
    rate.note(5000)
    assert rate.recent(5000) == (0, 0.0)
    for size in (5100, 5200, 5300):
        clock.now += 0.125
        rate.note(size)
    arrived, seconds = rate.recent(5300)
    assert (arrived, round(seconds, 3)) == (300, 0.375)
    for size in (5400, 5500):
        clock.now += 0.125
        rate.note(size)
    arrived, seconds = rate.recent(5500)
    assert (arrived, round(seconds, 3)) == (300, 0.375)

    clock.now += 10
    assert rate.recent(5500)[0] == 300
    assert rate.recent(5500)[1] > 10
    rate.restart()
    assert rate.recent(5500) == (0, 0.0)
