"""Of those who want the same thing at once, one does the work."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry_cache.errors import RegistryError, TooManyRequests
from registry_cache.runtime.single_flight import SingleFlight
from tests.harness.pull_rig import SECONDS, Question, flying
from tests.harness.waiting import eventually

OUTCOMES = [5, TooManyRequests("later", retry_after=3), ZeroDivisionError("a defect")]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
def test_threads_share_one_outcome(outcome: object) -> None:
    flights: SingleFlight[str, object] = SingleFlight()
    question = Question(outcome)
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(flights.run, "key", question) for _ in range(16)]
        eventually(lambda: flying(flights, "key") == 15)
        question.gate.set()
        outcomes = [future.exception(SECONDS) or future.result() for future in asked]
    if isinstance(outcome, RegistryError):
        # Each thread raises an error of its own.
        assert len({id(each) for each in outcomes}) == 16
        assert {repr(each) for each in outcomes} == {repr(outcome)}
    else:
        assert all(each is outcome for each in outcomes)
    assert question.asked == 1
    assert flights._flights == {}


def test_who_comes_later_does_it_anew_whatever_came_of_it() -> None:
    flights: SingleFlight[str, float] = SingleFlight()
    counter = itertools.count()
    assert [flights.run("key", lambda: next(counter)) for _ in range(3)] == [0, 1, 2]
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            flights.run("key", lambda: 1 / 0)
    assert flights.run("key", lambda: next(counter)) == 3


def test_other_keys_do_not_wait_and_who_waits_has_a_bound() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    question = Question(1)
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(flights.run, "key", question)
        assert question.begun.wait(SECONDS)
        assert flights.run("another", lambda: 2) == 2
        with pytest.raises(TimeoutError):
            flights.run("key", lambda: 3, seconds=0.01)
        question.gate.set()
        assert held.result(SECONDS) == 1


def test_the_work_may_have_a_thread_of_its_own() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    flight, ours = flights.join("key")
    assert ours
    assert flights.join("key") == (flight, False)
    threading.Thread(target=flights.lead, args=("key", flight, lambda: 4)).start()
    assert flight.wait(SECONDS)
    assert flight.result() == 4
