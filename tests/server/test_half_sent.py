"""A request that is half sent holds its connection for a bounded time, however its bytes drip in; no others wait."""

import contextlib
import select
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.pullers import Puller
from tests.harness.raw_client import connect
from tests.harness.running import running_cache
from tests.harness.server import CacheServer
from tests.harness.tls import make_certificate
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

# Shorter than the wait for a next request (`keepalive`), which would end these, too.
SECONDS = 40.0
BETWEEN_BYTES = 0.05
HALF = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Half: "


@pytest.fixture(scope="module")
def hasty(shared_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CacheServer]:
    """A cache that waits for half a second."""
    options = {"workers": 1, "application": "tests.server.hasty:app"}
    with running_cache(tmp_path_factory.mktemp("hasty"), shared_upstream, **options) as server:
        yield server


def half_sent(cache: CacheServer) -> socket.socket:
    connection = connect(cache.address, SECONDS)
    connection.sendall(HALF)
    return connection


def test_half_a_request_ends(hasty: CacheServer) -> None:
    with half_sent(hasty) as connection, Puller(hasty.url) as puller:
        assert puller.get("/v2/").status == 200
        assert connection.recv(1) == b""


def test_one_that_drips_in_ends_as_well(hasty: CacheServer) -> None:
    with half_sent(hasty) as connection:
        for _ in range(int(SECONDS / BETWEEN_BYTES)):
            if select.select([connection], [], [], BETWEEN_BYTES)[0]:
                break
            connection.sendall(b"x")
        assert over(connection)


def over(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        # A byte of ours came after the end.
        return True


def test_a_head_that_goes_on_is_refused_where_all_heads_are_bounded(hasty: CacheServer) -> None:
    """No line of it is too long, and there are not too many."""
    with connect(hasty.address, SECONDS) as connection:
        connection.sendall(
            b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 4000) for n in range(5))
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("sent", [HALF, b"", b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n" + HALF])
def test_of_one_address_so_many_may_be_half_sent(
    sent: bytes, shared_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The oldest of more are ended; who comes from elsewhere stays, and so do the others."""
    options = {"workers": 1, "application": "tests.server.crowded:app"}
    with (
        running_cache(tmp_path_factory.mktemp("crowded"), shared_upstream, **options) as server,
        contextlib.ExitStack() as stack,
    ):
        host, port = server.address.split(":")

        def begin(address: str) -> socket.socket:
            begun = stack.enter_context(socket.create_connection((host, int(port)), SECONDS, (address, 0)))
            begun.sendall(sent)
            if sent.startswith(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"):
                assert begun.recv(4096).endswith(b"{}")
            return begun

        elsewhere = begin("127.0.0.2")
        here = [begin("127.0.0.1") for _ in range(6)]
        assert [over(each) for each in here[:2]] == [True, True]
        for each in (elsewhere, *here[2:]):
            each.sendall(b"y\r\n\r\n" if sent else b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
            assert each.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert "let connections go that send no request address=127.0.0.1 connections=" in server.log_text()


def test_of_one_address_so_many_may_be_silent_by_tls(
    shared_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """Before their hello, in the midst of it, and behind the handshake."""
    _, certificate = make_certificate(tmp_path)
    tls = {"certificate": str(certificate), "key": str(tmp_path / "key.pem")}
    trust = ssl.create_default_context(cafile=certificate)
    options = {"workers": 1, "application": "tests.server.crowded:app", "config": {"http": {"tls": tls}}}
    folder = tmp_path_factory.mktemp("silent")
    with running_cache(folder, shared_upstream, **options) as server, contextlib.ExitStack() as stack:

        def begin(sent: bytes | None) -> socket.socket:
            begun = stack.enter_context(connect(server.address, SECONDS))
            if sent is None:
                return stack.enter_context(trust.wrap_socket(begun, server_hostname="127.0.0.1"))
            begun.sendall(sent)
            return begun

        for sent in (b"", b"\x16\x03\x01", None):
            here = [begin(sent) for _ in range(6)]
            # Of the oldest two; which these are the server alone knows, who was busy with several handshakes.
            eventually(lambda here=here: [is_over(each) for each in here].count(True) == 2)  # type: ignore[misc]
            for each in here:
                if sent is None and not is_over(each):
                    each.setblocking(True)
                    each.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
                    assert each.recv(4096).startswith(b"HTTP/1.1 200 ")
                each.close()


def is_over(connection: socket.socket) -> bool:
    """At this moment."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


def test_programs_on_this_machine_need_not_name_a_host(
    shared_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    path = tmp_path / "http.sock"
    with (
        running_cache(tmp_path_factory.mktemp("unix"), shared_upstream, workers=1, unix=path),
        socket.socket(socket.AF_UNIX) as connection,
    ):
        connection.settimeout(SECONDS)
        connection.connect(str(path))
        connection.sendall(b"GET /v2/ HTTP/1.1\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
