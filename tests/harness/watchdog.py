"""Measure how long a server keeps others waiting: the longest turn of a worker's loop, seen from outside."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from pathlib import Path
from types import TracebackType

# Between two questions; a turn that is shorter is of no interest.
PAUSE_SECONDS = 0.005

# A turn may take 0.1 s on a machine with nothing else to do. Before there were bounds it was seconds.
LONGEST_SECONDS = 0.5


class Watchdog:
    """Asks the server at ``address`` for /v2/ without a pause while the block lasts; ``longest`` is in seconds.

    By one connection, so of several workers it watches one: give the server one worker. What ``worker``, a process id,
    or this process waited for a core of a busy machine is not the server's, and does not count.
    """

    def __init__(self, address: str, worker: int | None = None) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=60)
        self._worker = worker
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog")
        self.waits: list[float] = []

    @property
    def longest(self) -> float:
        return max(self.waits, default=0.0)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self._connection.close()

    def _watch(self) -> None:
        while not self._ended.wait(PAUSE_SECONDS):
            began, delayed = time.monotonic(), self._delayed()
            self._connection.request("GET", "/v2/")
            self._connection.getresponse().read()
            self.waits.append(time.monotonic() - began - (self._delayed() - delayed))

    def _delayed(self) -> float:
        """Seconds for which the worker's threads, and ours, could have run and had no core (proc(5), schedstat)."""
        mine = Path(f"/proc/self/task/{threading.get_native_id()}")
        tasks = [] if self._worker is None else [*Path(f"/proc/{self._worker}/task").iterdir()]
        total = 0
        for task in [mine, *tasks]:
            with contextlib.suppress(OSError):
                total += int((task / "schedstat").read_text().split()[1])
        return total / 10**9
