"""A circuit breaker: after repeated failures, answer at once; one probe at a time finds out when upstream is back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

# Seconds from opening to the first probe, and the longest time between two.
FIRST_PAUSE, LAST_PAUSE = 1.0, 30.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why it is open: ``cause`` of the last failure, ``since`` and ``wait`` in seconds, 0 where a probe is due."""

    cause: str
    since: float
    wait: float


class Breaker:
    """Counts failures in a row. ``failures`` of them open it. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float], failures: int) -> None:
        self._clock = clock
        self._failures = failures
        self._mutex = threading.Lock()
        self._in_a_row = 0
        self._since = 0.0
        self._cause = ""
        self._probe_at = 0.0
        self._pause = FIRST_PAUSE
        self._probing = False

    def success(self) -> None:
        """Upstream answered, whatever it said."""
        # Without the lock, as in ``_closed``.
        if self._in_a_row == 0:
            return
        with self._mutex:
            self._in_a_row, self._pause, self._probing = 0, FIRST_PAUSE, False

    def failure(self, cause: str) -> None:
        """Upstream did not answer."""
        with self._mutex:
            now = self._clock()
            if self._in_a_row == 0:
                self._since = now
            self._in_a_row += 1
            self._cause = cause
            if self._in_a_row > self._failures:
                # Many may have been asking when it opened; only a probe's failure says that it is still down.
                if not self._probing:
                    return
                self._pause = min(self._pause * 2, LAST_PAUSE)
            self._probe_at, self._probing = now + self._pause, False

    def look(self) -> Refusal | None:
        """Return why it is open; None while closed. Takes no probe."""
        if self._closed:
            return None
        with self._mutex:
            return self._refusal(self._clock())

    def ask(self) -> Refusal | None:
        """Return why not to ask; None where the caller may, and must report ``success`` or ``failure``.

        While open, one caller a pause gets None: it is the probe.
        """
        if self._closed:
            return None
        with self._mutex:
            now = self._clock()
            refusal = self._refusal(now)
            if refusal is None or refusal.wait > 0:
                return refusal
            # The next one is due a pause from now, whether or not this one ever reports.
            self._probe_at, self._probing = now + self._pause, True
            return None

    @property
    def _closed(self) -> bool:
        """Asked without the lock by each pull of a tag: who sees what was so a moment ago has come a moment earlier."""
        return self._in_a_row < self._failures

    def _refusal(self, now: float) -> Refusal | None:
        if self._closed:
            return None
        return Refusal(self._cause, now - self._since, max(0.0, self._probe_at - now))
