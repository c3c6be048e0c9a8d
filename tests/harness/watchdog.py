"""Measure how long a server keeps others waiting: the longest turn of a worker's loop, seen from outside."""

from __future__ import annotations

import http.client
import threading
import time
from types import TracebackType

# Between two questions; a turn that is shorter is of no interest.
PAUSE_SECONDS = 0.005

# A turn may take 0.1 s on a machine with nothing else to do. Before there were bounds it was seconds.
LONGEST_SECONDS = 0.5


class Watchdog:
    """Asks the server at ``address`` for /v2/ without a pause while the block lasts; ``longest`` is in seconds.

    By one connection, so of several workers it watches one: give the server one worker.
    """

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=60)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog")
        self.longest = 0.0

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self._connection.close()

    def _watch(self) -> None:
        while not self._ended.wait(PAUSE_SECONDS):
            began = time.monotonic()
            self._connection.request("GET", "/v2/")
            self._connection.getresponse().read()
            self.longest = max(self.longest, time.monotonic() - began)
