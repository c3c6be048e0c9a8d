"""Choose which of a server's workers answers, instead of the kernel."""

import http.client
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.harness.pullers import SILENCE_SECONDS, Answer
from tests.harness.server import CacheServer
from tests.harness.waiting import eventually

TURNS = 4
# A request that is answered without asking upstream.
LAST = "/v2/app/blobs/none"


class Request:
    """A request that the constructor sends; the answer is read later."""

    def __init__(self, address: str, path: str, method: str = "GET") -> None:
        self._connection = http.client.HTTPConnection(address, timeout=SILENCE_SECONDS)
        self._connection.request(method, path)

    def answer(self) -> Answer:
        """Wait for the whole answer. A body cut short raises IncompleteRead."""
        try:
            with self._connection.getresponse() as response:
                return Answer(response.status, response.headers, response.read())
        finally:
            self._connection.close()


class Workers:
    """The workers of `cache`; `first` and `second` are process ids."""

    def __init__(self, cache: CacheServer) -> None:
        self._cache = cache
        self.first, self.second = cache.workers()

    @contextmanager
    def only(self, worker: int) -> Iterator[None]:
        """Stop all other workers until the end of the block: this one gets every connection."""
        others = [pid for pid in self._cache.workers() if pid != worker]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        try:
            for pid in others:
                eventually(partial(stopped, pid))
            yield
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)

    def send(self, worker: int, *paths: str, method: str = "GET", count: int = 1) -> list[Request]:
        """Send `count` requests for each path to this worker; when this returns it is working on all of them."""
        with self.only(worker):
            requests = [Request(self._cache.address, path, method) for path in paths for _ in range(count)]
            # A worker accepts connections in turn, so once it answers this one it has read all others; requests that
            # wait for each other need a few more turns of its loop.
            for _ in range(TURNS):
                assert Request(self._cache.address, LAST).answer().status == 400
        return requests


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def stat(pid: int) -> list[str]:
    """/proc/PID/stat from the state on: that, the parent, … Raises OSError where there is no such process."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def ended(pid: int) -> bool:
    """A zombie has: whose child it is may not care."""
    try:
        return stat(pid)[0] in "ZX"
    except OSError:
        return True
