"""Remove what failed downloads say to other processes once these have had the time to read it.

Without this, each blob that upstream does not have leaves a file, and a client may ask for any number of them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.runtime.log import Log
from registry_cache.store.partial_downloads import Partials

# Who follows a download looks every 0.05 s. A process that is stopped for longer asks upstream itself.
KEEP_SECONDS = 60.0
# With more, the oldest go at once.
MAX_KEPT = 1000

_log = Log(__name__)


class RecentFailures:
    """The failures of one process that are still on the disk. ``clock`` is monotonic, ``pause`` takes seconds."""

    def __init__(
        self,
        partials: Partials,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._partials = partials
        self._clock = clock
        self._pause = pause
        self._mutex = threading.Lock()
        self._kept: deque[tuple[float, Digest]] = deque()
        self._is_running = False

    def note(self, digest: Digest) -> None:
        """Have the failure of ``digest`` removed later."""
        with self._mutex:
            self._kept.append((self._clock(), digest))
            starts, self._is_running = not self._is_running, True
        if starts:
            threading.Thread(target=self._run, name="recent failures", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._mutex:
                if not self._kept:
                    self._is_running = False
                    return
                left = self._kept[0][0] + KEEP_SECONDS - self._clock()
                due = self._kept.popleft()[1] if left <= 0 or len(self._kept) > MAX_KEPT else None
            if due is None:
                self._pause(min(left, 1.0))
                continue
            try:
                self._partials.forget_failure(due)
            except StoreError as error:
                # A cleanup removes it in an hour.
                _log.debug("could not remove a failure", digest=due, error=error)
