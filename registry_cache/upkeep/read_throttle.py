"""Limit how fast something is read: so many bytes a second, and at most one second's worth at once."""

from __future__ import annotations

import time
from collections.abc import Callable

# A wait can be stopped so often.
_STEP_SECONDS = 0.2


class RateLimit:
    """``rate`` in bytes a second, None for no bound. ``tick`` is called while it waits, and may raise to stop."""

    def __init__(
        self,
        rate: int | None,
        tick: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._tick = tick
        self._clock = clock
        self._sleep = sleep
        # The time at which everything taken so far is within the rate.
        self._free_at = clock() - 1

    def take(self, count: int) -> None:
        """Wait until ``count`` bytes may be read."""
        self._tick()
        if self._rate is None:
            return
        self._free_at = max(self._free_at, self._clock() - 1) + count / self._rate
        while (wait := self._free_at - self._clock()) > 0:
            self._sleep(min(wait, _STEP_SECONDS))
            self._tick()
