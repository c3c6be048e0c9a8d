"""How fast the bytes of a transfer arrive now, by two looks at how many there were."""

from __future__ import annotations

import time
from collections.abc import Callable

from registry_cache.policy.verification_wait import MEASURE_SECONDS

_Look = tuple[float, int]


class ArrivalRate:
    """Told of every size; ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._older: _Look | None = None
        self._newer: _Look | None = None

    def restart(self) -> None:
        """Upstream has answered: what is here by then has not arrived from it."""
        self._older = self._newer = None

    def note(self, size: int) -> None:
        """Say that there are ``size`` bytes now."""
        now = self._clock()
        if self._newer is None:
            self._older = self._newer = (now, size)
        elif now - self._newer[0] >= MEASURE_SECONDS:
            self._older, self._newer = self._newer, (now, size)

    def recent(self, size: int) -> tuple[int, float]:
        """Return how many of ``size`` bytes came lately, and in how many seconds; 0, 0 before the first."""
        if self._older is None:
            return 0, 0.0
        return max(0, size - self._older[1]), self._clock() - self._older[0]
