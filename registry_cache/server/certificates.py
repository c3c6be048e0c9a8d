"""The certificate that a worker shows: read again when its files change, without a restart.

A connection keeps the context of its handshake, so a transfer under way notices nothing.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from registry_cache.runtime.log import Log

# How soon a renewed certificate is shown; more often would be system calls for each handshake of a crowd.
CHECK_SECONDS = 2.0

_log = Log(__name__)


class Certificates:
    """``make`` loads ``files`` into a context of its own, and raises OSError or ValueError. ``clock`` is monotonic."""

    def __init__(
        self, files: Sequence[Path], make: Callable[[], ssl.SSLContext], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Load the files. Raises what ``make`` raises."""
        self._files, self._make, self._clock = tuple(files), make, clock
        self._stamps = self._read_stamps()
        self._context = make()
        self._checked_at = clock()
        self._last_reason = ""

    def context(self) -> ssl.SSLContext:
        """Return what the next handshake is to use; checks now and then whether the files have changed.

        Files that do not belong together, such as a new certificate with a key that is still to be written, leave the
        context as it was; they are tried again at each check.
        """
        if self._clock() - self._checked_at >= CHECK_SECONDS:
            self._checked_at = self._clock()
            try:
                self._renew()
            except (OSError, ValueError) as error:
                self._log_error(error)
        return self._context

    def _renew(self) -> None:
        # Before they are read: what changes meanwhile is seen at the next check.
        stamps = self._read_stamps()
        if stamps != self._stamps:
            self._context, self._stamps, self._last_reason = self._make(), stamps, ""
            _log.info("a renewed certificate is in use", certificate=str(self._files[0]))

    def _read_stamps(self) -> tuple[tuple[int, int, int], ...]:
        found = map(os.stat, self._files)
        return tuple((status.st_mtime_ns, status.st_ino, status.st_size) for status in found)

    def _log_error(self, error: OSError | ValueError) -> None:
        """Log each reason once, not at each check."""
        words = getattr(error, "reason", None) or getattr(error, "strerror", None) or "not usable"
        reason = str(words).replace("_", " ").lower()
        if reason != self._last_reason:
            self._last_reason = reason
            _log.error(
                "the renewed certificate cannot be used: the one before stays",
                certificate=str(self._files[0]),
                reason=reason,
            )
