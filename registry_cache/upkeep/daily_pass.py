"""Start a cleanup when none has run for a day, so that old content goes where nobody has set up cron.

Each worker has one DailyPass. Whoever looks first starts the cleanup; the others find that one has run.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from registry_cache.runtime.log import Log
from registry_cache.store.last_runs import read_last_runs
from registry_cache.store.layout import Layout

DAY_SECONDS = 86_400.0
# So often a worker looks. Not at the start: a server that restarts has better things to do first. The share by which it
# differs keeps workers from looking all at once.
_LOOK_SECONDS, _SPREAD = 600.0, 0.2

_log = Log(__name__)


@dataclass(eq=False, slots=True)
class DailyPass:
    """``start`` begins one cleanup and returns at once; ``now`` and ``sleep`` in seconds."""

    layout: Layout
    start: Callable[[], object]
    now: Callable[[], float] = time.time
    sleep: Callable[[float], object] = time.sleep
    _started_at: float = field(default=float("-inf"), init=False)

    def begin(self) -> None:
        """Look from now on, for as long as the process lives."""
        threading.Thread(target=self.run, name="daily pass", daemon=True).start()

    def look(self) -> bool:
        """Start a cleanup if none has run within the last day; tell whether one was started."""
        now = self.now()
        # A disk so full that a cleanup cannot note its end must not be cleaned every ten minutes.
        last = read_last_runs(self.layout).cleanup
        # Not one far in the future, of a clock that was ahead: nothing would be cleaned up until then.
        if any(abs(now - at) < DAY_SECONDS for at in (last, self._started_at) if at is not None):
            return False
        self._started_at = now
        if last is None:
            _log.info("starting the first cleanup of this store")
        else:
            _log.info("no cleanup has run for a day: starting one")
        self.start()
        return True

    def run(self) -> None:
        """Look every ten minutes or so, without end."""
        while True:
            self.sleep(_LOOK_SECONDS * random.uniform(1 - _SPREAD, 1 + _SPREAD))  # noqa: S311 (no secret)
            self.look()
