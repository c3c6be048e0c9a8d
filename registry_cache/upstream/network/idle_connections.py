"""Close idle connections that their other end has closed, or that will not be reused.

A pool looks at a connection when it wants it again. Until then, each that upstream has closed holds a descriptor here
(CLOSE-WAIT), and the kernel's memory of it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakSet

from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection

# How long one may stay that upstream has closed. Looking at one costs a system call.
SWEEP_SECONDS = 5.0


class IdleSweeper:
    """Looks into ``pools()`` from time to time, for as long as a connection of theirs is open."""

    def __init__(self, pools: Callable[[], Iterable[HTTPConnectionPool]]) -> None:
        self._pools = pools
        self._open: WeakSet[HTTPConnection] = WeakSet()
        self._mutex = threading.Lock()
        self._is_running = False

    def watch(self, connection: HTTPConnection) -> None:
        """Look at this connection, which has just been opened, while it is idle."""
        with self._mutex:
            self._open.add(connection)
            if self._is_running:
                return
            self._is_running = True
        threading.Thread(target=self._run, name="close idle connections", daemon=True).start()

    def _run(self) -> None:
        while self._has_open():
            time.sleep(SWEEP_SECONDS)
            for pool in self._pools():
                _close_dead(pool)

    def _has_open(self) -> bool:
        with self._mutex:
            self._is_running = any(not connection.is_closed for connection in self._open)
            return self._is_running


def _close_dead(pool: HTTPConnectionPool) -> None:
    """Close what the pool would not use again. Each connection is taken out first: then nobody else can use it."""
    taken: list[Any] = []
    try:
        # The last that were returned come first; under them are the places that are free, which are None.
        while pool.pool is not None and (connection := pool.pool.get_nowait()) is not None:
            taken.append(connection)
        if pool.pool is not None:
            taken.append(None)
    except queue.Empty:
        pass
    for connection in reversed(taken):
        if connection is not None and not connection.is_connected:
            connection.close()
        _put_back(pool, connection)


def _put_back(pool: HTTPConnectionPool, connection: HTTPConnection | None) -> None:
    try:
        if pool.pool is not None:
            pool.pool.put_nowait(connection)
            return
    except queue.Full:
        # Somebody has returned one meanwhile.
        pass
    if connection is not None:
        connection.close()
