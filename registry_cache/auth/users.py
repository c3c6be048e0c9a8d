"""The users in an htpasswd file, which is checked at most once a second and read again when it has changed."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from registry_cache.auth import htpasswd
from registry_cache.runtime.log import Log

# A removed user gets in for this long at most; a shorter time would cost a crowd a system call a request.
CHECK_SECONDS = 1.0
# htpasswd(1) writes over the file in place. A file that changed within this time may be half written.
SETTLE_SECONDS = 0.5

_log = Log(__name__)

Stamp = tuple[int, int, int]


def read(path: Path) -> Mapping[bytes, bytes]:
    """Return each user's hash. Raises OSError, ValueError, and htpasswd.MalformedFile."""
    # Opening a pipe would wait.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("it is not a file")
    with open(path, "rb") as file:
        content = file.read(htpasswd.MAX_FILE_SIZE + 1)
    if len(content) > htpasswd.MAX_FILE_SIZE:
        raise ValueError("it is larger than 8 MiB")
    return htpasswd.parse(content)


class Users:
    """``clock`` is monotonic; ``now`` is what the file's own time is compared with. Both in seconds."""

    def __init__(
        self,
        path: Path,
        hashes: Mapping[bytes, bytes],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Read the file; ``hashes`` are the ones from before, used if it is broken now."""
        self._path, self._clock, self._now = path, clock, now
        self._hashes = hashes
        self._read_at: Stamp | None = None
        self._reported = ""
        self._checked_at = clock()
        self._check()

    def hashes(self) -> Mapping[bytes, bytes]:
        """Return each user's hash, from the newest valid file."""
        if self._clock() - self._checked_at >= CHECK_SECONDS:
            self._checked_at = self._clock()
            self._check()
        return self._hashes

    def _check(self) -> None:
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
            first = self._read_at is None
            if stamp == self._read_at or (not first and abs(self._now() - status.st_mtime) < SETTLE_SECONDS):
                return
            self._take(read(self._path), stamp)
        except (OSError, ValueError, htpasswd.MalformedFile) as error:
            self._complain(getattr(error, "strerror", None) or str(error))

    def _take(self, hashes: Mapping[bytes, bytes], stamp: Stamp) -> None:
        changed = self._read_at is not None
        self._hashes, self._read_at, self._reported = hashes, stamp, ""
        if not hashes:
            _log.error("the htpasswd file has no user: nobody gets in", file=str(self._path))
        elif changed:
            _log.info("the htpasswd file was read again", file=str(self._path), users=len(hashes))

    def _complain(self, reason: str) -> None:
        """Log each reason once: the next check finds the same."""
        if reason != self._reported:
            self._reported = reason
            _log.error(
                "the htpasswd file cannot be used: the users of before stay", file=str(self._path), reason=reason
            )
