"""The breaker opens after failures in a row, lets one probe a pause through, and closes on any answer."""

from __future__ import annotations

import threading

import pytest

from registry_cache.upstream.breakers import FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS, Breaker, Outage
from tests.harness.pull_rig import SECONDS, Clock


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock, failures=3)


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        assert breaker.admit() is None
        breaker.record_failure("refused")


def test_it_opens_at_the_third_failure_in_a_row(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 2)
    assert breaker.outage() is None
    clock.pause(0.25)
    fail(breaker)
    assert breaker.admit() == Outage("refused", since=0.25, wait=FIRST_PAUSE_SECONDS)
    clock.pause(0.5)
    assert breaker.admit() == Outage("refused", since=0.75, wait=FIRST_PAUSE_SECONDS - 0.5)
    assert breaker.outage() == Outage("refused", since=0.75, wait=FIRST_PAUSE_SECONDS - 0.5)


def test_an_answer_in_between_starts_the_count_anew(breaker: Breaker) -> None:
    for _ in range(4):
        fail(breaker, 2)
        breaker.record_success()
    assert breaker.admit() is None
    assert breaker.outage() is None


def test_one_probe_a_pause_and_each_that_fails_doubles_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    pauses, pause = [], FIRST_PAUSE_SECONDS
    for _ in range(8):
        clock.pause(pause)
        assert breaker.admit() is None
        assert breaker.admit() is not None
        breaker.record_failure("refused")
        outage = breaker.admit()
        assert outage is not None
        pauses.append(pause := outage.wait)
    assert pauses == [2.0, 4.0, 8.0, 16.0, MAX_PAUSE_SECONDS, MAX_PAUSE_SECONDS, MAX_PAUSE_SECONDS, MAX_PAUSE_SECONDS]


def test_who_only_looks_takes_no_probe(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.pause(FIRST_PAUSE_SECONDS)
    assert [breaker.outage() for _ in range(3)] == [Outage("refused", since=FIRST_PAUSE_SECONDS, wait=0.0)] * 3
    assert breaker.admit() is None
    assert breaker.outage() == Outage("refused", since=FIRST_PAUSE_SECONDS, wait=FIRST_PAUSE_SECONDS)


def test_the_probe_that_succeeds_closes_it_and_the_next_trouble_begins_with_the_first_pause(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker, 3)
    clock.pause(FIRST_PAUSE_SECONDS)
    fail(breaker)
    clock.pause(2 * FIRST_PAUSE_SECONDS)
    assert breaker.admit() is None
    breaker.record_success()
    assert [breaker.admit() for _ in range(3)] == [None] * 3

    fail(breaker, 3)
    assert breaker.admit() == Outage("refused", since=0.0, wait=FIRST_PAUSE_SECONDS)


def test_a_probe_that_never_reports_does_not_keep_it_open(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.pause(FIRST_PAUSE_SECONDS)
    assert breaker.admit() is None
    assert breaker.admit() is not None
    clock.pause(FIRST_PAUSE_SECONDS)
    assert breaker.admit() is None


def test_many_who_were_asking_when_it_opened_do_not_lengthen_the_pause(breaker: Breaker) -> None:
    assert [breaker.admit() for _ in range(20)] == [None] * 20
    for _ in range(20):
        breaker.record_failure("silent")
    outage = breaker.admit()
    assert outage is not None
    assert (outage.cause, outage.wait) == ("silent", FIRST_PAUSE_SECONDS)


def test_of_many_threads_one_is_the_probe(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.pause(FIRST_PAUSE_SECONDS)
    start, admitted = threading.Barrier(16), []

    def knock() -> None:
        start.wait(SECONDS)
        if breaker.admit() is None:
            admitted.append(1)

    threads = [threading.Thread(target=knock) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert admitted == [1]
