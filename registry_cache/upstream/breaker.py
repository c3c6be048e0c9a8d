"""A circuit breaker: after repeated failures, refuse at once; one probe at a time finds out when upstream is back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

# Seconds from opening to the first probe, and the longest time between two probes.
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 30.0


@dataclass(frozen=True, slots=True)
class Outage:
    """Why a breaker is open: the last failure's ``cause``, for how many seconds, and seconds until the next probe; a
    ``wait`` of 0 means that one is due.
    """

    cause: str
    since: float
    wait: float


class Breaker:
    """Opens after so many ``failures`` in a row. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float], failures: int) -> None:
        self._clock = clock
        self._failures = failures
        self._mutex = threading.Lock()
        self._in_a_row = 0
        self._since = 0.0
        self._cause = ""
        self._probe_at = 0.0
        self._pause = FIRST_PAUSE_SECONDS
        self._is_probing = False

    def record_success(self) -> None:
        """Upstream answered, whatever it said."""
        # Read without the lock, as in ``_is_closed``.
        if self._in_a_row == 0:
            return
        with self._mutex:
            self._in_a_row, self._pause, self._is_probing = 0, FIRST_PAUSE_SECONDS, False

    def record_failure(self, cause: str) -> None:
        """Upstream did not answer."""
        with self._mutex:
            now = self._clock()
            if self._in_a_row == 0:
                self._since = now
            self._in_a_row += 1
            self._cause = cause
            if self._in_a_row > self._failures:
                # Many requests may have been under way when it opened; only a probe shows that upstream is still down.
                if not self._is_probing:
                    return
                self._pause = min(self._pause * 2, MAX_PAUSE_SECONDS)
            self._probe_at, self._is_probing = now + self._pause, False

    def outage(self) -> Outage | None:
        """Return why it is open; None while closed. Admits nothing."""
        if self._is_closed:
            return None
        with self._mutex:
            return self._outage(self._clock())

    def admit(self) -> Outage | None:
        """Return why not to ask; None where the caller may, and must record what came of it.

        While open, one caller a pause gets None: the probe.
        """
        if self._is_closed:
            return None
        with self._mutex:
            now = self._clock()
            outage = self._outage(now)
            if outage is None or outage.wait > 0:
                return outage
            # The next probe is due a pause from now, even if this one is never recorded.
            self._probe_at, self._is_probing = now + self._pause, True
            return None

    @property
    def _is_closed(self) -> bool:
        """Read without the lock, by each pull of a tag: a value that is a moment old does no harm."""
        return self._in_a_row < self._failures

    def _outage(self, now: float) -> Outage | None:
        if self._is_closed:
            return None
        return Outage(self._cause, now - self._since, max(0.0, self._probe_at - now))
