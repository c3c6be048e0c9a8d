"""A bucket that is away is left alone for a growing while, and one caller finds out that it is back."""

from registry_cache.upstream.bucket_outage import FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS, BucketOutage
from tests.harness.pull_rig import Clock


def test_a_failure_is_a_pause_in_which_nobody_asks_and_then_one_does() -> None:
    clock = Clock()
    outage = BucketOutage(clock)
    assert outage.admit()
    assert outage.admit()

    outage.record_failure("gone")

    assert outage.is_away
    assert not outage.admit()
    clock.now += FIRST_PAUSE_SECONDS
    assert [outage.admit() for _ in range(3)] == [True, False, False]


def test_pauses_grow_to_a_bound_and_an_answer_ends_them() -> None:
    clock = Clock()
    outage = BucketOutage(clock)
    for _ in range(20):
        outage.record_failure("gone")

    clock.now += LAST_PAUSE_SECONDS - 1
    assert not outage.admit()
    clock.now += 1
    assert outage.admit()
    outage.record_answer()

    assert not outage.is_away
    assert [outage.admit() for _ in range(3)] == [True, True, True]
