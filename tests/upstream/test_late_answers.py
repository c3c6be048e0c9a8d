"""Who has a copy and does not wait: where answers of that repository come late, or of several and nothing in time."""

import pytest

from registry_cache.upstream.breakers import ANSWERED_SECONDS, FIRST_PAUSE_SECONDS, MIN_NAMES
from registry_cache.upstream.late_answers import LateAnswers
from tests.harness.pull_rig import Clock

CAUSE = "no answer in 2 s"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def answers(clock: Clock) -> LateAnswers:
    return LateAnswers(clock)


def be_late(answers: LateAnswers, repositories: int = MIN_NAMES, times: int = 2) -> None:
    for _ in range(times):
        for number in range(repositories):
            answers.record_late(CAUSE, f"evil/{number}")


def test_two_late_answers_of_a_repository_end_waiting_for_it_until_one_comes_in_time(answers: LateAnswers) -> None:
    be_late(answers, 1, times=1)
    assert answers.outage("evil/0") is None
    be_late(answers, 1, times=1)
    outage = answers.outage("evil/0")
    assert outage is not None
    assert outage.cause == CAUSE
    assert answers.outage("good") is None
    answers.record_timely("evil/0")
    assert answers.outage("evil/0") is None


def test_any_number_of_late_repositories_says_nothing_of_others_where_something_came_in_time(
    answers: LateAnswers, clock: Clock
) -> None:
    answers.record_timely("other")
    for _ in range(3):
        be_late(answers, 50)
        assert answers.outage("good") is None
        clock.pause(ANSWERED_SECONDS - 1)
        answers.record_timely("other")


def test_several_late_repositories_and_nothing_in_time_end_waiting_for_all_but_one_caller_a_pause(
    answers: LateAnswers, clock: Clock
) -> None:
    be_late(answers)
    assert answers.outage("good") is not None
    clock.pause(FIRST_PAUSE_SECONDS)
    # Those that are late themselves take nobody's turn.
    assert answers.outage("evil/0") is not None
    assert answers.outage("good") is None
    assert answers.outage("other") is not None
    answers.record_timely("good")
    assert answers.outage("other") is None
