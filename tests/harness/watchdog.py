"""Measure how long a server keeps others waiting: the longest turn of its worker's loop, and the waits for /v2/."""

from __future__ import annotations

import http.client
import threading
import time
from types import TracebackType

from tests.harness.server import CacheServer

WATCHED = "tests.harness.watched:app"
"""The application of a server whose worker notes its turns."""

# Between two questions.
PAUSE_SECONDS = 0.005

# No answer may hold the loop for longer. Before there were bounds it was seconds.
LONGEST_SECONDS = 0.1
# How long a question may take, on a machine where six others have work.
PATIENCE_SECONDS = 60.0


class Watchdog:
    """Knows the longest turn of the only worker of ``cache``, an application ``WATCHED``, while the block lasts.

    Asks it for /v2/ without a pause meanwhile. ``waits`` are in seconds by the wall clock: on a machine with other work
    they say more of that than of the server.
    """

    def __init__(self, cache: CacheServer) -> None:
        self._connection = http.client.HTTPConnection(cache.address, timeout=PATIENCE_SECONDS)
        self._turns = cache.config_file.with_name("longest-turn")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog")
        self.waits: list[float] = []
        self.where = "no turn of any length"

    @property
    def longest(self) -> float:
        """CPU seconds; ``where`` says where that turn ended."""
        return float(self.where.partition(" ")[0]) if self.where[0].isdigit() else 0.0

    def __enter__(self) -> Watchdog:
        # A worker has one long turn of its own, before the first answer: it loads what it consists of.
        self._ask()
        self._turns.unlink(missing_ok=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self._connection.close()
        if self._turns.exists():
            self.where = self._turns.read_text()

    def _watch(self) -> None:
        while not self._ended.wait(PAUSE_SECONDS):
            began = time.monotonic()
            self._ask()
            self.waits.append(time.monotonic() - began)

    def _ask(self) -> None:
        self._connection.request("GET", "/v2/")
        self._connection.getresponse().read()
