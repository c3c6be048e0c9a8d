"""Whether the bucket is worth asking now, as this process has found out.

Not shared between processes or nodes: a node's own trouble with its network must not silence the others.
One log line says that it is away, and one that it is back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from registry_cache.runtime.log import Log

# After a failure nobody asks for so long; twice as long after the next one. Each ask may cost a client the wait for an
# answer, and an object store that is overloaded must be left alone.
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 1.0, 16.0

_log = Log(__name__)


class BucketOutage:
    """``clock`` in seconds, monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._mutex = threading.Lock()
        self._pause = 0.0
        self._not_before = 0.0

    @property
    def is_away(self) -> bool:
        """Whether it did not answer when it was last asked."""
        return self._pause > 0

    def admit(self) -> bool:
        """Return whether to ask now. During an outage one caller is let through now and then."""
        with self._mutex:
            now = self._clock()
            if now < self._not_before:
                return False
            # The others wait for what this one finds.
            self._not_before = now + self._pause
            return True

    def record_failure(self, reason: str) -> None:
        """It did not answer as an object store does."""
        with self._mutex:
            was_away = self.is_away
            self._pause = min(LAST_PAUSE_SECONDS, self._pause * 2) or FIRST_PAUSE_SECONDS
            self._not_before = self._clock() + self._pause
        if not was_away:
            _log.warning("the bucket is away; pulls go on without it", error=reason)

    def record_answer(self) -> None:
        """It has answered."""
        with self._mutex:
            was_away = self.is_away
            self._pause = self._not_before = 0.0
        if was_away:
            _log.info("the bucket answers again")
