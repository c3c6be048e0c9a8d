"""Log each kind of disk error once a minute, with how many were left out: a full disk fails a thousand requests alike.

One object a process. ``disk.store_errors`` notes each error; a commit that works says that it is over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from registry_cache.runtime.log import Log

# Seconds until the same error is logged again.
_REPEAT_SECONDS = 60.0

_log = Log(__name__)


class DiskErrorLog:
    """When each errno was last logged. ``on_error`` is called with every error."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._logged_at: dict[int | None, float] = {}
        self._left_out = 0
        # An error was logged, and not yet that it is over.
        self._is_failing = False
        self.on_error: Callable[[OSError], None] = lambda error: None

    def note(self, what: str, error: OSError) -> None:
        """Note the ``error`` of an attempt to do ``what``."""
        self.on_error(error)
        now = time.monotonic()
        with self._mutex:
            if now - self._logged_at.get(error.errno, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
                self._left_out += 1
                return
            self._logged_at[error.errno] = now
            self._is_failing = True
            left_out, self._left_out = self._left_out, 0
        _log.error(
            "the disk refuses", what=what, error=error.strerror, file=error.filename, more_like_it=left_out or None
        )

    def note_success(self) -> None:
        """Note that the disk has taken a blob; logged once after errors were."""
        if not self._is_failing:
            return
        with self._mutex:
            self._is_failing = False
            left_out, self._left_out = self._left_out, 0
        _log.info("the disk takes blobs again", refused_meanwhile=left_out or None)


disk_error_log = DiskErrorLog()
