"""The registries that systems pull from: a near one by nginx, a far one by ``bench.shaped``; and what they sent."""

import http.client
import json
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from bench import nginx
from bench.content import Content
from bench.processes import Program
from bench.shaped import COUNTERS

REPOSITORY_ROOT = Path(__file__).parents[1]
# A peer that stores a blob in the background fetches it once more, and may begin after its client has it.
_QUIET_SECONDS = 0.3
_SETTLE_SECONDS = 300.0
_POLL_SECONDS = 0.05
_WRITING = re.compile(r"Writing: ([0-9]+)")


@dataclass(frozen=True)
class Shape:
    """``rtt`` in seconds, rates in bytes a second: of each connection and of all together; 0 for no bound."""

    rtt: float = 0.0
    connection: float = 0.0
    total: float = 0.0


class Upstream(Protocol):
    """A running registry."""

    url: str

    def sent(self) -> int:
        """The bytes of blobs that went out so far."""

    def busy(self) -> bool:
        """Whether a body is under way."""

    def stop(self) -> None: ...


class Near:
    """nginx: no round trip, and no bound but that of each connection. Counts a body when it has ended."""

    def __init__(self, folder: Path, content: Content, connection: float = 0.0) -> None:
        self._bodies = folder / "bodies.log"
        listeners = [nginx.listener(), nginx.cdn_listener()]
        address, cdn = map(nginx.name, listeners)
        text = nginx.registry(address, cdn, content.folder, content.tags, self._bodies, int(connection))
        self.url = f"http://{address}"
        self._program = nginx.start(folder, text, listeners)
        for each in listeners:
            each.close()

    def sent(self) -> int:
        return sum(int(line.split()[1]) for line in self._bodies.read_text(encoding="utf-8").splitlines())

    def busy(self) -> bool:
        # The answer to this question is one of them.
        writing = _WRITING.search(_get(self.url, nginx.STATUS))
        return writing is None or int(writing[1]) > 1

    def stop(self) -> None:
        self._program.stop()


class Far:
    """``bench.shaped``."""

    def __init__(self, folder: Path, content: Content, shape: Shape) -> None:
        folder.mkdir()
        command = [sys.executable, "-m", "bench.shaped", str(content.folder)]
        command += ["--rtt", str(shape.rtt), "--connection", str(shape.connection), "--total", str(shape.total)]
        self._program = Program(command, folder / "log", {"PYTHONPATH": str(REPOSITORY_ROOT)})
        self.url = self._program.wait_for(lambda: self._program.text().partition("\n")[0] or None)

    def sent(self) -> int:
        return self._counters()["body_bytes"]

    def busy(self) -> bool:
        return self._counters()["open"] > 0

    def stop(self) -> None:
        self._program.stop()

    def _counters(self) -> dict[str, int]:
        counters: dict[str, int] = json.loads(_get(self.url, COUNTERS))
        return counters


def make_upstream(folder: Path, content: Content, shape: Shape) -> Upstream:
    """Start what is cheapest for this shape."""
    if shape.rtt or shape.total:
        return Far(folder, content, shape)
    return Near(folder, content, shape.connection)


def _get(url: str, path: str) -> str:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def wait_until_idle(upstream: Upstream) -> int:
    """Wait until nothing is sent any more, for minutes at most; return ``upstream.sent()``."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    sent, since = upstream.sent(), time.monotonic()
    while time.monotonic() < deadline and (upstream.busy() or time.monotonic() < since + _QUIET_SECONDS):
        time.sleep(_POLL_SECONDS)
        now = upstream.sent()
        if now != sent:
            sent, since = now, time.monotonic()
    return sent
