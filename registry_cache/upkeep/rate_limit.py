"""A bound on how fast something is read: so many bytes a second, and no more than a second's worth at once."""

from __future__ import annotations

import time
from collections.abc import Callable

# While waiting, so often somebody may stop it.
_STEP = 0.2


class Pace:
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
        # When what has been taken so far is paid for.
        self._paid = clock() - 1

    def take(self, count: int) -> None:
        """Wait until ``count`` bytes may be read."""
        self._tick()
        if self._rate is None:
            return
        self._paid = max(self._paid, self._clock() - 1) + count / self._rate
        while (wait := self._paid - self._clock()) > 0:
            self._sleep(min(wait, _STEP))
            self._tick()
