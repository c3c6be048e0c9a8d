"""The certificate that a worker shows: renewed by whoever renews it, taken over without a restart.

A connection keeps the context that it shook hands with, so a transfer under way notices nothing.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from registry_cache.runtime.log import Log

# How soon a renewed certificate is shown; more often would be system calls for each handshake of a crowd.
LOOK_SECONDS = 2.0

_log = Log(__name__)


class Certificates:
    """``make`` loads ``files`` into a context of its own, and raises OSError or ValueError. ``clock`` is monotonic."""

    def __init__(
        self, files: Sequence[Path], make: Callable[[], ssl.SSLContext], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Load the files. Raises what ``make`` raises."""
        self._files, self._make, self._clock = tuple(files), make, clock
        self._stamps = self._look()
        self._context = make()
        self._looked = clock()
        self._told = ""

    def context(self) -> ssl.SSLContext:
        """Return what the next handshake is to use; looks at the files, now and then, whether they have changed.

        Files that do not belong together, such as a new certificate with a key that is still to be written, leave what
        was; they are tried again at each look.
        """
        if self._clock() - self._looked >= LOOK_SECONDS:
            self._looked = self._clock()
            try:
                self._renew()
            except (OSError, ValueError) as error:
                self._complain(error)
        return self._context

    def _renew(self) -> None:
        # Before they are read: what changes meanwhile is seen at the next look.
        stamps = self._look()
        if stamps != self._stamps:
            self._context, self._stamps, self._told = self._make(), stamps, ""
            _log.info("a renewed certificate is in use", certificate=str(self._files[0]))

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        found = map(os.stat, self._files)
        return tuple((status.st_mtime_ns, status.st_ino, status.st_size) for status in found)

    def _complain(self, error: OSError | ValueError) -> None:
        """Once for each reason, and not at each look."""
        words = getattr(error, "reason", None) or getattr(error, "strerror", None) or "not usable"
        reason = str(words).replace("_", " ").lower()
        if reason != self._told:
            self._told = reason
            _log.error(
                "the renewed certificate cannot be used: the one before stays",
                certificate=str(self._files[0]),
                reason=reason,
            )
