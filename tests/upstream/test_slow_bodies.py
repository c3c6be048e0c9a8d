"""Bodies that drip: whoever reads one stops in time, whatever it is, and nobody else is held up."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from registry_cache.errors import UpstreamElsewhere, UpstreamError, UpstreamTimeout
from registry_cache.oci.digest import Digest
from registry_cache.upstream import client, refusal, transport
from registry_cache.upstream.credentials import tokens
from tests.harness.programs import run
from tests.harness.pull_rig import SECONDS
from tests.harness.store_rig import APP, LATEST
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import connect

# Of all the bounds on an answer the least that is not meant in a test below.
LONG = 0.9 * transport.ANSWER_TIMEOUT_SECONDS

JSON = b"Content-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

# A manifest whose body drips, under gevent: what a worker does.
PULL = """
import gevent.monkey; gevent.monkey.patch_all()
import sys
from registry_cache.errors import UpstreamTimeout
from registry_cache.upstream import client
from tests.harness.store_rig import APP, LATEST
from tests.harness.upstream_rig import connect
client.DOCUMENT_TIMEOUT_SECONDS = 0.3
try:
    connect(sys.argv[1]).get_manifest(APP, LATEST)
except UpstreamTimeout as error:
    print(error.message)
"""


class Dripper:
    """Answers a request with ``head``, then ``drop`` again and again until the client leaves; ``well``, with that."""

    well: bytes | None = None

    def __init__(self, head: bytes, drop: bytes) -> None:
        self._head, self._drop = head, drop
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(SECONDS)
            received = b""
            while b"\r\n\r\n" not in received:
                received += connection.recv(65536)
            if self.well is not None:
                connection.sendall(self.well)
                return
            connection.sendall(self._head)
            while not self._over.wait(0.02):
                connection.sendall(self._drop)

    def stop(self) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SECONDS)
        self._listener.close()


@pytest.fixture
def drip() -> Iterator[Callable[..., Dripper]]:
    """A function that starts a server whose bodies drip."""
    started: list[Dripper] = []

    def start(status: str, headers: bytes, drop: bytes = b" ") -> Dripper:
        started.append(Dripper(b"HTTP/1.1 " + status.encode() + b"\r\n" + headers + b"\r\n", drop))
        return started[-1]

    yield start
    for each in started:
        each.stop()


BODIES = {
    "plain": (JSON + b"Content-Length: 60000\r\n", b" "),
    "without a length": (JSON, b" "),
    "chunks": (JSON + CHUNKED, b"1\r\n \r\n"),
    "the size of a chunk": (JSON + CHUNKED, b"0"),
    "silence": (JSON + b"Content-Length: 60000\r\n", b""),
}


@pytest.mark.parametrize("body", BODIES)
def test_a_document_ends_in_time(drip: Callable[..., Dripper], monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    monkeypatch.setattr(client, "DOCUMENT_TIMEOUT_SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(UpstreamTimeout, match=r"took more than 0\.3 s"):
        connect(drip("200 OK", *BODIES[body]).url).get_manifest(APP, LATEST)
    assert time.monotonic() - began < LONG


def test_a_document_ends_in_time_in_a_worker(drip: Callable[..., Dripper]) -> None:
    url = drip("200 OK", *BODIES["plain"]).url
    done = run([sys.executable, "-c", PULL, url])
    assert "took more than 0.3 s" in done.stdout, done.stderr


@pytest.mark.parametrize("body", BODIES)
def test_an_error_whose_reason_drips_is_told_in_time_and_is_no_answer_of_the_registry(
    drip: Callable[..., Dripper], monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr(refusal, "_REASON_TIMEOUT_SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(UpstreamError, match="'nothing'"):
        connect(drip("404 Not Found", *BODIES[body]).url).get_manifest(APP, LATEST)
    assert time.monotonic() - began < LONG


@pytest.mark.parametrize("where", ["body", "headers"])
def test_a_token_that_drips_holds_up_nobody_for_good(
    upstream: FakeUpstream, drip: Callable[..., Dripper], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(tokens, "TOKEN_TIMEOUT_SECONDS", 0.3)
    digest = upstream.add_manifest(b"{}", tag="latest")
    upstream.faults.require_token = True
    head, drop = BODIES["plain"] if where == "body" else (b"X-Slow: ", b"x")
    server = drip("200 OK", head, drop)
    upstream.faults.realm = server.url + "/token"
    registry = connect(upstream.url)
    with pytest.raises(UpstreamTimeout):
        registry.head_manifest(APP, LATEST)
    monkeypatch.setattr(tokens, "TOKEN_TIMEOUT_SECONDS", SECONDS)
    token = requests.get(upstream.url + f"/token?scope=repository:{APP}:pull&service=x", timeout=SECONDS).content
    server.well = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(token), token)
    assert str(registry.head_manifest(APP, LATEST).digest) == digest


def test_a_silent_content_server_is_no_failure_of_the_registry(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The registry's own answer, which sends us there, must come within it, however busy the machine is.
    monkeypatch.setattr(transport, "ANSWER_TIMEOUT_SECONDS", 4.0)
    blob = upstream.add_blob(b"layer")
    digest = upstream.add_manifest(b"{}", tag="latest")
    with socket.create_server(("127.0.0.2", 0)) as silent, ThreadPoolExecutor(4) as pool:
        upstream.faults.redirect_to = f"http://127.0.0.2:{silent.getsockname()[1]}/{{digest}}"
        registry = connect(upstream.url)
        pulls = [pool.submit(registry.open_blob, APP, Digest.parse(blob)) for _ in range(4)]
        assert [type(pull.exception(SECONDS)) for pull in pulls] == [UpstreamElsewhere] * 4
        assert str(registry.head_manifest(APP, LATEST).digest) == digest
