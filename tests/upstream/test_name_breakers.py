"""What fails for some names is refused for those names, and for their repository once several of them fail."""

from __future__ import annotations

import pytest

from registry_cache.upstream.breakers import ANSWERED_SECONDS, MIN_NAMES, NameBreakers, Subject, is_widespread
from tests.harness.pull_rig import Clock

GOOD, OTHER = Subject("good/app", "good/app/manifests/1"), Subject("good/app", "good/app/manifests/2")
BAD = [Subject("good/app", f"good/app/manifests/bad{number}") for number in range(50)]


@pytest.fixture
def breakers(clock: Clock) -> NameBreakers:
    return NameBreakers(clock, failures=3)


@pytest.mark.parametrize(
    ("names", "since_answer", "expected"),
    [
        (1, None, False),
        (MIN_NAMES - 1, None, False),
        (MIN_NAMES, None, True),
        (1000, None, True),
        (1000, 0.0, False),
        (1000, ANSWERED_SECONDS - 0.1, False),
        (MIN_NAMES, ANSWERED_SECONDS, True),
        (1, 1000.0, False),
    ],
)
def test_when_a_repository_fails_and_not_only_names_of_it(
    names: int, since_answer: float | None, expected: bool
) -> None:
    assert is_widespread(names, since_answer) is expected


def fail(breakers: NameBreakers, *about: Subject) -> None:
    for each in about:
        breakers.record_failure("answered 500", each)


def test_a_name_that_fails_is_refused_alone(breakers: NameBreakers) -> None:
    fail(breakers, *3 * [BAD[0]])
    assert breakers.admit(BAD[0]) is not None
    assert breakers.admit(GOOD) is None


def test_several_names_of_a_repository_that_never_answered_stop_that_repository_alone(breakers: NameBreakers) -> None:
    fail(breakers, *BAD[:MIN_NAMES])
    outage = breakers.admit(GOOD)
    assert outage is not None
    assert outage.cause == "answered 500"
    assert breakers.admit(Subject("fine/app", "fine/app/manifests/1")) is None


def test_however_many_bad_names_are_asked_for_those_that_are_answered_go_on(
    breakers: NameBreakers, clock: Clock
) -> None:
    fail(breakers, BAD[0])
    breakers.record_answer(GOOD)
    for _ in range(20):
        fail(breakers, *BAD)
        clock.pause(1)
        assert breakers.admit(GOOD) is None
        assert breakers.admit(OTHER) is None
        breakers.record_answer(GOOD)


def test_bad_repositories_without_number_stop_no_other(breakers: NameBreakers) -> None:
    fail(breakers, *(Subject(f"bad{number}/x", f"bad{number}/x/manifests/1") for number in range(3000) for _ in "123"))
    assert breakers.admit(GOOD) is None
    # They are not all remembered.
    assert len(breakers._repositories) == 1000


def test_a_repository_that_is_asked_again_by_its_probe_is_open_again_at_an_answer(
    breakers: NameBreakers, clock: Clock
) -> None:
    fail(breakers, *BAD[:MIN_NAMES])
    assert breakers.admit(GOOD) is not None
    clock.pause(1)
    assert breakers.outage(GOOD) is not None
    assert breakers.admit(GOOD) is None
    assert breakers.admit(OTHER) is not None
    breakers.record_answer(GOOD)
    assert [breakers.admit(GOOD), breakers.admit(OTHER)] == [None, None]
    assert breakers.outage(GOOD) is None


def test_a_probe_that_the_repository_admits_is_not_lost_on_a_name_that_is_refused(
    breakers: NameBreakers, clock: Clock
) -> None:
    fail(breakers, *BAD[:MIN_NAMES])
    clock.pause(0.5)
    fail(breakers, *2 * [BAD[0]])
    clock.pause(0.6)
    assert breakers.admit(BAD[0]) is not None
    assert breakers.admit(GOOD) is None


def test_what_was_never_asked_costs_nothing(breakers: NameBreakers) -> None:
    breakers.record_answer(GOOD)
    assert breakers.outage(GOOD) is None
    assert len(breakers._repositories) == 0
