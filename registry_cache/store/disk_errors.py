"""What the disk refuses is said once, and then how often: a full disk fails a thousand requests a minute alike.

One for the process, as the disk is. ``disk.store_errors`` notes each refusal, a commit that works ends the trouble.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from registry_cache.runtime.log import Log

# How soon the same refusal is said again.
_AGAIN = 60.0

_log = Log(__name__)


class DiskErrorLog:
    """Refusals by errno, and when each was last said. ``on_error`` is called with each refusal."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._said: dict[int | None, float] = {}
        self._unsaid = 0
        # A line that says so has not been answered by one that it is over.
        self._open = False
        self.on_error: Callable[[OSError], None] = lambda error: None

    def note(self, what: str, error: OSError) -> None:
        """Note that the disk refused to do ``what``."""
        self.on_error(error)
        now = time.monotonic()
        with self._mutex:
            if now - self._said.get(error.errno, -_AGAIN) < _AGAIN:
                self._unsaid += 1
                return
            self._said[error.errno] = now
            self._open = True
            unsaid, self._unsaid = self._unsaid, 0
        _log.error(
            "the disk refuses", what=what, error=error.strerror, file=error.filename, more_like_it=unsaid or None
        )

    def note_success(self) -> None:
        """Note that the disk has taken a blob; said once for each time that a refusal was."""
        if not self._open:
            return
        with self._mutex:
            self._open = False
            unsaid, self._unsaid = self._unsaid, 0
        _log.info("the disk takes blobs again", refused_meanwhile=unsaid or None)


disk_error_log = DiskErrorLog()
