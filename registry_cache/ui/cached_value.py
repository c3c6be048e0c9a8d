"""Remember a value for a moment, so that many readers at once cost one look."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class CachedValue(Generic[_T]):
    """What ``make`` returned less than ``seconds`` ago; one caller at a time makes it again, and the others wait."""

    def __init__(self, make: Callable[[], _T], seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._make, self._seconds, self._now = make, seconds, now
        self._lock = threading.Lock()
        self._value: list[_T] = []
        self._until = float("-inf")

    def get(self) -> _T:
        """Return the value. Raises what ``make`` raises, and remembers nothing then."""
        with self._lock:
            if not self._value or self._now() >= self._until:
                self._value[:] = [self._make()]
                # From the end of the work: what takes long must not be made without a pause.
                self._until = self._now() + self._seconds
            return self._value[0]
