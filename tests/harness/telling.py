"""The parts of an answer that tests compare most."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.harness.pullers import Answer


def told(answer: Answer) -> tuple[int, str | None, str | None]:
    """Status, outcome and digest."""
    return answer.status, answer.headers["X-Cache"], answer.headers["Docker-Content-Digest"]


def code(answer: Answer) -> tuple[int, str]:
    """Status and error code."""
    return answer.status, answer.json()["errors"][0]["code"]


def message(answer: Answer) -> str:
    """The error message, which docker prints."""
    return str(answer.json()["errors"][0]["message"])


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail if the block takes longer."""
    began = time.monotonic()
    yield
    spent = time.monotonic() - began
    assert spent < seconds, f"took {spent:.2f} s"


def timed(act: Callable[[], Answer]) -> tuple[Answer, float]:
    """The answer, and how long it took in seconds."""
    began = time.monotonic()
    answer = act()
    return answer, time.monotonic() - began
