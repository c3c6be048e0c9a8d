"""Tell whether the server may take traffic: whether the store can be written to, by trying it."""

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
from registry_cache.runtime.log import Log
from registry_cache.store import atomic_write, disk
from registry_cache.store.layout import Layout

# However many probes ask, the disk is tried once in so many seconds.
FRESH_SECONDS = 5.0
# A disk that takes longer for one small file hangs, and so would every pull.
PROBE_TIMEOUT_SECONDS = 5.0

# What an empty folder in its place looks like: pulls would fill the disk that the folder itself is on.
_GONE = "no store is in the folder any more: mount its disk again, or restart the server, which makes an empty one"
_SILENT = "it does not answer: look at dmesg, and at the server of a network file system"

Readiness = Literal["ok", "full", "failing"]

_log = Log(__name__)


class ReadinessProbe:
    """Whether one store can be written: ``ok``, ``full`` if it only lacks room, or ``failing``."""

    def __init__(self, layout: Layout, clock: Callable[[], float] = time.monotonic) -> None:
        self._layout = layout
        self._clock = clock
        self._mutex = threading.Lock()
        self._done = threading.Condition(self._mutex)
        self._answer: Readiness = "failing"
        self._until = 0.0
        self._running_since: float | None = None
        self._told = ""

    def check(self) -> Readiness:
        """Return the state of the store, at most FRESH_SECONDS old, in PROBE_TIMEOUT_SECONDS at most."""
        with self._mutex:
            if self._clock() < self._until:
                return self._answer
            if self._running_since is None:
                self._running_since = self._clock()
                threading.Thread(target=self._run, name="probe", daemon=True).start()
            running = self._running_since
            left = running + PROBE_TIMEOUT_SECONDS - self._clock()
            self._done.wait_for(lambda: self._running_since != running, max(0.0, left))
            if self._running_since != running:
                return self._answer
        self._tell(_SILENT)
        return "failing"

    def _run(self) -> None:
        answer: Readiness = "failing"
        try:
            answer, reason = threadpool.run(self._try)
            self._tell(reason)
        finally:
            with self._done:
                self._answer, self._until, self._running_since = answer, self._clock() + FRESH_SECONDS, None
                self._done.notify_all()

    def _tell(self, reason: str) -> None:
        """Log what is wrong when it begins, and that it has ended; "" for nothing."""
        if reason == self._told:
            return
        self._told = reason
        if reason:
            _log.error("the store cannot be used", root=self._layout.root, reason=reason)
        else:
            _log.info("the store can be used again", root=self._layout.root)

    def _try(self) -> tuple[Readiness, str]:
        """Return the state, and why it is failing."""
        # A leading dot, so that cleanup and verify take it for a file that is being written.
        path = f"{self._layout.locks}/.probe-{os.getpid()}"
        try:
            if Layout.find(Path(self._layout.root)) is None:
                return "failing", _GONE
            atomic_write.write_whole(path, b"probe")
            disk.remove(path)
        except StoreError as error:
            return "failing", error.message
        except OSError as error:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            return ("full", "") if is_full else ("failing", str(error.strerror or error))
        return "ok", ""
