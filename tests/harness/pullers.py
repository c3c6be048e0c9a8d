"""Clients of a registry: plain requests, pulls that can be watched and abandoned half-way, and crowds."""

import base64
import contextlib
import hashlib
import http.client
import json
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.harness.content import APP, DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

SILENCE_SECONDS = 60.0  # between two reads of a pull
WAIT_SECONDS = 40.0  # for bytes that a test expects now
FINISH_SECONDS = 90.0  # for the rest of a pull
CROWD_SECONDS = 300.0  # for a crowd's last byte; the test's own timeout is usually shorter
CHUNK = 64 * 1024
CROWD_PROGRAM = Path(__file__).with_name("crowd.py")
ACCEPT = {"Accept": ", ".join([OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST])}


@dataclass(frozen=True)
class Answer:
    """A whole response."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Result:
    """How a pull ended. `complete`: the body is as long as the response head announced."""

    status: int
    headers: Message
    digest: str
    size: int
    complete: bool
    error: Exception | None
    first_byte_seconds: float | None
    seconds: float


class Pull(threading.Thread):
    """One GET in its own thread; the body is hashed as it arrives."""

    def __init__(self, address: str, path: str, headers: Mapping[str, str], algorithm: str = "sha256") -> None:
        super().__init__(daemon=True)
        self.status = 0
        self.size = 0
        self.headers = Message()
        self._connection = http.client.HTTPConnection(address, timeout=SILENCE_SECONDS)
        self._path, self._sent_headers, self._hash = path, dict(headers), hashlib.new(algorithm)
        self._complete = False
        self._error: Exception | None = None
        self._first_byte: float | None = None
        self._seconds: float | None = None  # set when it is over
        self._changed = threading.Condition()
        self._began = time.monotonic()
        self._connection.connect()
        # http.client drops its socket when the server closes; `close` needs it.
        self._socket: socket.socket = self._connection.sock
        self.start()

    def run(self) -> None:
        try:
            self._read()
        except (OSError, http.client.HTTPException) as error:
            self._error = error
        finally:
            self._connection.close()
            self._seconds = time.monotonic() - self._began
            with self._changed:
                self._changed.notify_all()

    def _read(self) -> None:
        self._connection.request("GET", self._path, headers=self._sent_headers)
        with self._connection.getresponse() as response:
            announced = response.length
            with self._changed:
                self.status, self.headers = response.status, response.headers
                self._changed.notify_all()
            # Reading to the end of the connection would block: it may stay open.
            while self.size != announced and (piece := response.read1(CHUNK)):
                self._hash.update(piece)
                with self._changed:
                    self._first_byte = self._first_byte or time.monotonic() - self._began
                    self.size += len(piece)
                    self._changed.notify_all()
        self._complete = announced in (None, self.size)

    def wait_for(self, size: int, seconds: float = WAIT_SECONDS) -> None:
        """Wait until this many body bytes have arrived; 0 waits for the head. AssertionError if they do not."""
        with self._changed:
            self._changed.wait_for(lambda: self._has(size) or self._seconds is not None, seconds)
            assert self._has(size), f"{self.size} of {size} bytes, status {self.status}, error {self._error!r}"

    def _has(self, size: int) -> bool:
        return self.status != 0 and self.size >= size

    def finish(self, seconds: float = FINISH_SECONDS) -> Result:
        """Wait until the pull has succeeded or failed."""
        self.join(seconds)
        assert self._seconds is not None, f"unfinished after {seconds} s, at {self.size} bytes"
        digest = f"{self._hash.name}:{self._hash.hexdigest()}"
        return Result(
            self.status, self.headers, digest, self.size, self._complete, self._error, self._first_byte, self._seconds
        )

    def close(self) -> None:
        """Disconnect, also in the middle of a body."""
        with contextlib.suppress(OSError):  # the server has closed it
            self._socket.shutdown(socket.SHUT_RDWR)
        self.join(WAIT_SECONDS)


@dataclass(frozen=True)
class CrowdResult:
    """How many clients got what; `right` ones got every expected byte. Seconds count from the first connect."""

    right: int
    wrong: int
    short: int
    statuses: dict[str, int]
    seconds: float


class Crowd:
    """Many clients of one blob, in a process of their own."""

    def __init__(self, address: str, path: str, count: int, expected: bytes) -> None:
        command = [sys.executable, "-P", str(CROWD_PROGRAM), address, path, str(count)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        with self._process.stdin as stdin:
            stdin.write(expected)

    def wait_until_reading(self, seconds: float = WAIT_SECONDS) -> None:
        """Wait until every client has received its first body byte, or has ended."""
        assert self._line(seconds) == "reading"

    def finish(self, seconds: float = CROWD_SECONDS) -> CrowdResult:
        """Wait for the last client."""
        while (line := self._line(seconds)) == "reading":
            pass
        self.close()
        return CrowdResult(**json.loads(line))

    def close(self) -> None:
        """Kill the process, which disconnects all its clients."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(WAIT_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _line(self, seconds: float) -> str:
        assert self._process.stdout is not None
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)
        assert poll.poll(seconds * 1000), f"the crowd printed nothing for {seconds} s"
        line = self._process.stdout.readline().decode().strip()
        assert line, f"the crowd ended with status {self._process.wait(WAIT_SECONDS)}"
        return line


def login(user: str, password: str) -> dict[str, str]:
    """The request header of HTTP basic authentication."""
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


class Puller:
    """A client of the registry at `url`; `close` ends everything it started."""

    def __init__(self, url: str) -> None:
        self.address = urlsplit(url).netloc
        self._open: list[Pull | Crowd] = []

    def start_blob(self, repository: str, digest: str, headers: Mapping[str, str] | None = None) -> Pull:
        """GET a blob in the background."""
        path, algorithm = f"/v2/{repository}/blobs/{digest}", digest.partition(":")[0]
        pull = Pull(self.address, path, headers or {}, algorithm)
        self._open.append(pull)
        return pull

    def start_crowd(self, count: int, repository: str, digest: str, expected: bytes) -> Crowd:
        """`count` clients GET one blob at once and compare what they get with `expected`."""
        crowd = Crowd(self.address, f"/v2/{repository}/blobs/{digest}", count, expected)
        self._open.append(crowd)
        return crowd

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.request("GET", path, headers)

    def head(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.request("HEAD", path, headers)

    def blob(self, digest: str, repository: str = APP, headers: Mapping[str, str] | None = None) -> Answer:
        return self.get(f"/v2/{repository}/blobs/{digest}", headers)

    def manifest(self, reference: str, repository: str = APP, headers: Mapping[str, str] | None = None) -> Answer:
        """By tag or digest, accepting every image type unless `headers` say otherwise."""
        return self.get(f"/v2/{repository}/manifests/{reference}", ACCEPT if headers is None else headers)

    def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """One request on its own connection; the path goes out as it is. A body cut short raises IncompleteRead."""
        connection = http.client.HTTPConnection(self.address, timeout=SILENCE_SECONDS)
        try:
            connection.request(method, path, body, dict(headers or {}))
            with connection.getresponse() as response:
                return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def close(self) -> None:
        """End all pulls and crowds."""
        for each in self._open:
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
