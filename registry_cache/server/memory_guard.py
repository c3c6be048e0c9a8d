"""Workers that hold more memory than any use of theirs takes are replaced, as at a reload: nobody is cut.

No leak is known. One in what we stand on would end with the kernel killing a worker in the midst of its transfers.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from registry_cache.runtime.log import Log
from registry_cache.server import reload

# Several times what a worker takes that is full of readers.
MOST_BYTES = 512 * 1024 * 1024
LOOK_SECONDS = 10.0

_LOG = Log(__name__)


def install(server: Any) -> None:
    """Let gunicorn's arbiter look at its workers' memory now and then. It calls ``manage_workers`` every second."""
    gunicorns = server.manage_workers
    looked = time.monotonic()

    def manage_workers() -> None:
        nonlocal looked
        if time.monotonic() - looked >= LOOK_SECONDS:
            looked = time.monotonic()
            _look(server)
        gunicorns()

    server.manage_workers = manage_workers


def _look(server: Any) -> None:
    # While old ones still finish, more would follow at each look wherever it is a crowd that makes workers large.
    if len(server.WORKERS) != server.num_workers:
        return
    largest = max(map(resident, server.WORKERS), default=0)
    if largest > MOST_BYTES:
        _LOG.warning("a worker has grown too large: replacing all", bytes=largest, most=MOST_BYTES)
        reload.replace(server)


def resident(pid: int) -> int:
    """Return how many bytes of memory a process holds; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
