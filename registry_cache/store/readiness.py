"""May the server take traffic: can the store still be written, in fact and not by its permissions?"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from registry_cache.errors import StoreError
from registry_cache.runtime import threadpool
from registry_cache.store import disk
from registry_cache.store.layout import Layout

# A crowd of probes costs one look in so many seconds.
FRESH_SECONDS = 5.0
# A disk that takes longer for one small file hangs, and so would every pull.
PATIENCE = 5.0

Readiness = Literal["ok", "full", "failing"]


class ReadinessProbe:
    """Of one store. ``check`` answers ``ok``, ``full`` where there is only no room, or ``failing``."""

    def __init__(self, layout: Layout, clock: Callable[[], float] = time.monotonic) -> None:
        self._layout = layout
        self._clock = clock
        self._mutex = threading.Lock()
        self._done = threading.Condition(self._mutex)
        self._word: Readiness = "failing"
        self._until = 0.0
        self._running_since: float | None = None

    def check(self) -> Readiness:
        """Return how the store is, as of FRESH_SECONDS ago at most; in PATIENCE at most."""
        with self._mutex:
            if self._clock() < self._until:
                return self._word
            if self._running_since is None:
                self._running_since = self._clock()
                threading.Thread(target=self._run, name="probe", daemon=True).start()
            running = self._running_since
            left = running + PATIENCE - self._clock()
            self._done.wait_for(lambda: self._running_since != running, max(0.0, left))
            return self._word if self._running_since != running else "failing"

    def _run(self) -> None:
        word: Readiness = "failing"
        try:
            word = threadpool.run(self._try)
        finally:
            with self._done:
                self._word, self._until, self._running_since = word, self._clock() + FRESH_SECONDS, None
                self._done.notify_all()

    def _try(self) -> Readiness:
        # A leading dot: a sweep and a verify know it for a file that is being written.
        path = f"{self._layout.locks}/.probe-{os.getpid()}"
        try:
            if Layout.find(Path(self._layout.root)) is None:
                return "failing"
            disk.write_whole(path, b"probe")
            disk.remove(path)
        except StoreError:
            return "failing"
        except OSError as error:
            return "full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "failing"
        return "ok"
