"""Of which repositories answers come too late for those who have a copy: these are served it without a wait.

A client chooses which tags are asked for, and whoever a repository belongs to how long its answer takes. So the late
answers of one repository say nothing of others, until some repositories are late and nothing came in time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from cachetools import LRUCache

from registry_cache.upstream.breakers import Breaker, Outage, is_widespread

# Answers of a repository in a row that came too late.
_LATE = 2
# Those that were late longest ago are forgotten, and then waited for once more than needed.
_MAX_REPOSITORIES = 1000


class LateAnswers:
    """The late answers of one registry. Stops nobody from asking, only from waiting. Safe to share between threads.

    ``timely_at``: when an answer last came in time, by ``clock``; ``is_any_late``: what a pull of a tag looks at first.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.timely_at: float | None = None
        self.is_any_late = False
        self._mutex = threading.Lock()
        self._repositories: LRUCache[str, Breaker] = LRUCache(_MAX_REPOSITORIES)
        self._whole = Breaker(clock, failures=1)

    def record_timely(self, repository: str) -> None:
        """An answer for ``repository`` came within the time that requests with a copy wait."""
        with self._mutex:
            self.timely_at = self.clock()
            self._whole.record_success()
            self._repositories.pop(repository, None)
            self.is_any_late = len(self._repositories) > 0

    def record_late(self, cause: str, repository: str) -> None:
        """A request for ``repository`` that has a copy waited in vain."""
        with self._mutex:
            found = self._repositories.get(repository)
            if found is None:
                found = self._repositories[repository] = Breaker(self.clock, _LATE)
            found.record_failure(cause)
            self.is_any_late = True
            since_timely = None if self.timely_at is None else self.clock() - self.timely_at
            if is_widespread(len(self._repositories), since_timely):
                self._whole.record_failure(cause)

    def outage(self, repository: str) -> Outage | None:
        """Return why not to wait for an answer for ``repository``; None where the caller is to wait.

        While all are late, one caller a pause is: of a repository that was not late itself.
        """
        with self._mutex:
            found = self._repositories.get(repository)
        return (found.outage() if found else None) or self._whole.admit()
