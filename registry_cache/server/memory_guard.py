"""Replace all workers gracefully when one uses more than 512 MiB of memory.

No leak is known. One in what we stand on would end with the kernel killing a worker in the midst of its transfers.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from registry_cache.runtime.log import Log
from registry_cache.server import reload
from registry_cache.server.gunicorn_internals import Master

# Several times what a worker takes that is full of readers.
MOST_BYTES = 512 * 1024 * 1024
CHECK_SECONDS = 10.0

_log = Log(__name__)


class MemoryGuard:
    """Called every second in the master; checks its workers' memory now and then."""

    def __init__(self) -> None:
        self._checked_at = time.monotonic()

    def __call__(self, master: Master) -> None:
        if time.monotonic() - self._checked_at >= CHECK_SECONDS:
            self._checked_at = time.monotonic()
            _replace_if_large(master)


def _replace_if_large(master: Master) -> None:
    # While old ones still finish, more would follow at each look wherever it is a crowd that makes workers large.
    if len(master.workers) != master.wanted_workers:
        return
    largest = max(map(resident, master.workers), default=0)
    if largest > MOST_BYTES:
        _log.warning("a worker has grown too large: replacing all", bytes=largest, most=MOST_BYTES)
        reload.replace_workers(master)


def resident(pid: int) -> int:
    """Return how many bytes of memory a process holds; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
