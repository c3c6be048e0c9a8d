"""How long the request under way has waited for upstream's answers: to its own questions, and to shared ones.

A request has its own watch, by its thread or greenlet; waits of threads that serve nobody in particular, such as a
transfer's, are no request's. Waits inside of waits count once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Stopwatch:
    """``seconds`` waited so far."""

    __slots__ = ("running", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.running = False


_current: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)


def begin() -> Stopwatch:
    """Return a new watch, which is now that of this thread or greenlet."""
    watch = Stopwatch()
    _current.set(watch)
    return watch


@contextmanager
def waiting() -> Iterator[None]:
    """Upstream is waited for inside."""
    watch = _current.get()
    if watch is None or watch.running:
        yield
        return
    began, watch.running = time.monotonic(), True
    try:
        yield
    finally:
        watch.seconds += time.monotonic() - began
        watch.running = False
