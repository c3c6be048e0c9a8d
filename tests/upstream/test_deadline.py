"""A question is waited for as long as was said, whatever it is that takes so long."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import traceback
import weakref
from collections.abc import Iterator

import pytest

from registry_cache.errors import UpstreamTimeout, UpstreamUnavailable
from registry_cache.upstream.deadline import run_with_timeout
from tests.harness.pull_rig import SECONDS
from tests.harness.waiting import eventually

SOON = 0.05


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a slow answer waits for; open at the end, so that no thread outlives its test."""
    gate = threading.Event()
    yield gate
    gate.set()
    eventually(lambda: not [each for each in threading.enumerate() if each.name.startswith("ask ")])


def test_an_answer_and_an_error_are_the_askers() -> None:
    assert run_with_timeout(SECONDS, "ask", lambda: 42) == 42
    with pytest.raises(ValueError, match="this one"):
        run_with_timeout(SECONDS, "ask", lambda: int("this one"))


def test_a_failure_leaves_nothing_for_the_collector() -> None:
    """Which frees a hundred thousand objects at once, while no client has a turn."""
    left: list[weakref.ref[object]] = []

    def fail() -> None:
        held = threading.Event()
        error = UpstreamUnavailable("down")
        left.extend((weakref.ref(held), weakref.ref(error)))
        try:
            raise OSError("the cause, which remembers this frame")
        except OSError as cause:
            raise error from cause
        finally:
            del error

    gc.disable()
    try:
        with contextlib.suppress(UpstreamUnavailable):
            run_with_timeout(SECONDS, "ask", fail)
        eventually(lambda: [each() for each in left] == [None, None])
    finally:
        gc.enable()


def test_a_defect_keeps_its_traceback_and_nothing_for_the_collector() -> None:
    left: list[weakref.ref[object]] = []

    def fail() -> None:
        held = threading.Event()
        left.append(weakref.ref(held))
        raise ZeroDivisionError

    gc.disable()
    try:
        try:
            run_with_timeout(SECONDS, "ask", fail)
        except ZeroDivisionError as error:
            frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        eventually(lambda: left[0]() is None)
    finally:
        gc.enable()
    assert frames[-1] == "fail"


def test_an_error_that_is_no_exception_reaches_whoever_asked() -> None:
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        run_with_timeout(SECONDS, "ask", leave)


def test_silence_ends_and_says_what_was_asked(gate: threading.Event) -> None:
    began = time.monotonic()
    with pytest.raises(UpstreamTimeout, match=r"no answer in 0\.05 s when we asked for the weather"):
        run_with_timeout(SOON, "asked for the weather", lambda: gate.wait(SECONDS))
    assert time.monotonic() - began < SECONDS / 2


def test_an_answer_that_comes_too_late_is_discarded_once(gate: threading.Event) -> None:
    discarded: list[str] = []

    def ask() -> str:
        gate.wait(SECONDS)
        return "late"

    with pytest.raises(UpstreamTimeout):
        run_with_timeout(SOON, "ask", ask, discarded.append)
    assert discarded == []
    gate.set()
    eventually(lambda: discarded == ["late"])


def test_an_answer_in_time_is_not_discarded() -> None:
    discarded: list[int] = []
    assert run_with_timeout(SECONDS, "ask", lambda: 1, discarded.append) == 1
    assert discarded == []


def test_an_error_that_comes_too_late_is_nobodys(gate: threading.Event) -> None:
    discarded: list[object] = []

    def ask() -> None:
        gate.wait(SECONDS)
        raise OSError("late")

    with pytest.raises(UpstreamTimeout):
        run_with_timeout(SOON, "ask", ask, discarded.append)
    gate.set()
    eventually(lambda: not [each for each in threading.enumerate() if each.name == "ask ask"])
    assert discarded == []


def test_an_answer_at_the_very_end_of_the_wait_is_taken_or_discarded_but_not_both() -> None:
    for _ in range(50):
        discarded: list[int] = []

        def ask() -> int:
            time.sleep(0.001)
            return 1

        try:
            taken = [run_with_timeout(0.001, "ask", ask, discarded.append)]
        except UpstreamTimeout:
            taken = []
            eventually(lambda discarded=discarded: discarded)  # type: ignore[misc]
        assert taken + discarded == [1]
