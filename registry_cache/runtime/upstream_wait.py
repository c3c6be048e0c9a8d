"""How long the request under way has waited for upstream's answers: to its own questions, and to shared ones.

A request has its own watch, by its thread or greenlet; waits of other threads, such as a transfer's, belong to no
request. A wait within a wait counts once.
"""

from __future__ import annotations

import time
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


class waiting:
    """Upstream is waited for inside."""

    __slots__ = ("_began", "_watch")

    def __enter__(self) -> None:
        watch = _current.get()
        self._watch = None if watch is None or watch.running else watch
        if self._watch:
            self._began, self._watch.running = time.monotonic(), True

    def __exit__(self, *_: object) -> None:
        if self._watch:
            self._watch.seconds += time.monotonic() - self._began
            self._watch.running = False
