"""A far registry in a process of its own: tokens, blobs by redirect to a CDN, a round trip and bandwidth.

    python -m bench.shaped FOLDER --rtt 0.03 --connection 0 --total 12500000

prints its URL. A connection costs a round trip, and each request another. Bodies are paced in steps of milliseconds,
each connection by a line of its own and all of them by a common one. ``/bench/counters`` says what was sent, and is not
shaped. Slow start, loss and TLS are not imitated.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.content import MANIFEST_TYPE
from bench.shaping import Line

COUNTERS = "/bench/counters"
TOKEN = "bench"  # noqa: S105 (whoever asks for one gets it)
CDN_HOST = "127.0.0.2"
_BACKLOG = 4096
_RANGE = re.compile(r"bytes=(\d+)-(\d*)$")


@dataclass
class Counters:
    """``body_bytes`` of blobs, ``requests`` but for this one's, ``open`` bodies under way."""

    body_bytes: int = 0
    requests: int = 0
    open: int = 0


@dataclass(frozen=True)
class Request:
    """What a client asked; the names of ``headers`` are in small letters."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """A head and what follows it: ``text``, or from ``start`` on ``size`` bytes of ``file``."""

    status: str
    headers: dict[str, str] = field(default_factory=dict)
    text: bytes = b""
    file: Path | None = None
    start: int = 0
    size: int = 0

    def head(self) -> bytes:
        length = self.size if self.file else len(self.text)
        lines = [f"{name}: {value}" for name, value in {**self.headers, "Content-Length": str(length)}.items()]
        return "\r\n".join([f"HTTP/1.1 {self.status}", *lines, "", ""]).encode()


class Registry:
    """Serves the files below ``folder``; ``rtt`` in seconds, rates in bytes a second, 0 for no bound."""

    def __init__(self, folder: Path, rtt: float, connection: float, total: float) -> None:
        self.counters = Counters()
        self.url = self._cdn = ""
        self._folder, self._rtt, self._connection, self._total = folder, rtt, connection, Line(total)

    async def listen(self) -> list[asyncio.Server]:
        """Begin to serve; whoever calls closes what is returned."""
        servers = [
            await asyncio.start_server(self._client(answer), host, 0, backlog=_BACKLOG)
            for host, answer in (("127.0.0.1", self._registry), (CDN_HOST, self._content))
        ]
        self.url, self._cdn = ("http://{}:{}".format(*each.sockets[0].getsockname()) for each in servers)
        return servers

    def _client(
        self, answer: Callable[[Request], Answer]
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            line = Line(self._connection)
            # A client that leaves is nothing to report.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
                # The kernel has shaken hands at once.
                await asyncio.sleep(self._rtt)
                while True:
                    request = _parse_head(await reader.readuntil(b"\r\n\r\n"))
                    await self._send(request, answer(request), writer, line)

        return serve

    async def _send(self, request: Request, answer: Answer, writer: asyncio.StreamWriter, line: Line) -> None:
        if request.path != COUNTERS:
            self.counters.requests += 1
            await asyncio.sleep(self._rtt)
        body = request.method != "HEAD"
        writer.write(answer.head() + (answer.text if body else b""))
        if body and answer.file:
            await self._send_file(answer.file, answer, writer, line)
        await writer.drain()

    async def _send_file(self, path: Path, answer: Answer, writer: asyncio.StreamWriter, line: Line) -> None:
        clock = asyncio.get_running_loop().time
        step = min(line.step, self._total.step)
        blob = answer.headers["Content-Type"] != MANIFEST_TYPE
        self.counters.open += 1
        try:
            with path.open("rb") as file:
                for start in range(answer.start, answer.start + answer.size, step):
                    size = min(step, answer.start + answer.size - start)
                    await asyncio.sleep(max(line.book(size, clock()), self._total.book(size, clock())) - clock())
                    writer.write(os.pread(file.fileno(), size, start))
                    await writer.drain()
                    self.counters.body_bytes += size if blob else 0
        finally:
            self.counters.open -= 1

    def _registry(self, request: Request) -> Answer:
        """The registry's answer, and the token server's, which is at the same address."""
        if request.path == COUNTERS:
            return _json("200 OK", asdict(self.counters))
        if request.path.startswith("/token"):
            return _json("200 OK", {"token": TOKEN, "access_token": TOKEN, "expires_in": 300})
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            challenge = f'Bearer realm="{self.url}/token",service="bench"'
            return _json("401 Unauthorized", {"errors": [{"code": "UNAUTHORIZED"}]}, {"WWW-Authenticate": challenge})
        if "/blobs/" in request.path:
            return Answer("307 Temporary Redirect", {"Location": self._cdn + request.path})
        return _json("200 OK", {}) if request.path == "/v2/" else self._manifest(request)

    def _manifest(self, request: Request) -> Answer:
        path = self._folder / request.path.lstrip("/")
        if not path.is_file():
            return _json("404 Not Found", {"errors": [{"code": "MANIFEST_UNKNOWN"}]})
        digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        headers = {"Content-Type": MANIFEST_TYPE, "Docker-Content-Digest": digest}
        return Answer("200 OK", headers, file=path, size=path.stat().st_size)

    def _content(self, request: Request) -> Answer:
        """The CDN's answer."""
        path = self._folder / request.path.lstrip("/")
        if not path.is_file():
            return _json("404 Not Found", {})
        size, headers = path.stat().st_size, {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        asked = _RANGE.match(request.headers.get("range", ""))
        if not asked:
            return Answer("200 OK", headers, file=path, size=size)
        start, end = int(asked[1]), min(int(asked[2] or size), size - 1) + 1
        if start >= size:
            return Answer("416 Range Not Satisfiable", {"Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        return Answer("206 Partial Content", headers, file=path, start=start, size=end - start)


def _json(status: str, value: object, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode())


def _parse_head(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    return Request(method, path, {name.lower(): value.strip() for name, _, value in pairs})


async def _serve(arguments: argparse.Namespace) -> None:
    registry = Registry(arguments.folder, arguments.rtt, arguments.connection, arguments.total)
    servers = await registry.listen()
    print(registry.url, flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rtt", type=float, default=0.0, help="seconds")
    parser.add_argument("--connection", type=float, default=0.0, help="bytes a second of one connection; 0: no bound")
    parser.add_argument("--total", type=float, default=0.0, help="bytes a second of all connections; 0: no bound")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
