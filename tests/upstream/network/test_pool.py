"""Connections that are used again: dead ones cost a moment and no pull, and none is trusted for long."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3
from urllib3.connection import HTTPConnection

from registry_cache.errors import UpstreamTimeout, UpstreamUnavailable
from registry_cache.upstream.network import idle_connections, pool
from registry_cache.upstream.session import TLS, HttpRequest, Session, Timeouts
from tests.harness.fixture_types import MakeUpstream
from tests.harness.pull_rig import SECONDS
from tests.harness.raw import RawServer
from tests.harness.tls import make_certificate
from tests.harness.upstream import FakeUpstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n%s"


class Listening:
    """Serves each connection in a thread of its own; ``accepted``: how many there were; ``another``: more than one."""

    def __init__(self) -> None:
        self.accepted = 0
        self.another = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.accepted += 1
                if self.accepted > 1:
                    self.another.set()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Fickle(Listening):
    """Answers the first request of a connection; what becomes of a later one, and of new connections, a test says."""

    def __init__(self) -> None:
        self.later: Callable[[socket.socket], None] = lambda connection: connection.sendall(OK % b"old")
        self.newer = b"new"
        self.over = threading.Event()
        self.left = threading.Event()
        super().__init__()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(SECONDS)
            answer = self.newer
            while connection.recv(65536):
                if answer:
                    connection.sendall(OK % answer)
                    answer = b""
                else:
                    self.later(connection)
            self.left.set()

    def be_silent(self, connection: socket.socket) -> None:
        self.over.wait(SECONDS)

    def answer_late(self, connection: socket.socket) -> None:
        self.another.wait(SECONDS)
        connection.sendall(OK % b"old")

    def reset(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

    def time_out(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 408 Request Time-out\r\nConnection: close\r\n\r\n<h1>too late</h1>")
        connection.close()

    def hang_up_in_the_head(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
        connection.close()

    def hang_up(self, connection: socket.socket) -> None:
        connection.close()

    def stop(self) -> None:
        self.over.set()
        super().stop()


class ServesNobody(Listening):
    """Accepts connections, and ends them."""

    def _serve(self, connection: socket.socket) -> None:
        connection.close()


@pytest.fixture
def server() -> Iterator[Fickle]:
    server = Fickle()
    yield server
    server.stop()


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr(pool, "SILENCE_SECONDS", 0.2)
    return Session("it", Timeouts(SECONDS, SECONDS), TLS())


def get(session: Session, url: str, method: str = "GET") -> bytes:
    with session.send(HttpRequest(method, url, {}, "asked")) as response:
        return response.content


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("death", ["be_silent", "reset", "hang_up", "hang_up_in_the_head", "time_out"])
def test_a_dead_connection_costs_a_moment_and_a_new_one(
    server: Fickle, session: Session, death: str, method: str
) -> None:
    get(session, server.url)
    server.later = getattr(server, death)
    began = time.monotonic()
    assert get(session, server.url, method) == (b"new" if method == "GET" else b"")
    assert time.monotonic() - began < SECONDS / 2
    assert server.accepted == 2


def test_an_old_connection_that_answers_is_used_again(server: Fickle, session: Session) -> None:
    assert [get(session, server.url) for _ in range(3)] == [b"new", b"old", b"old"]
    assert server.accepted == 1


def test_a_slow_answer_on_the_old_connection_wins_where_the_new_one_gets_none(server: Fickle, session: Session) -> None:
    get(session, server.url)
    server.later, server.newer = server.answer_late, b""
    assert get(session, server.url) == b"old"
    assert server.accepted == 2


UNAVAILABLE = b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(("scheme", "says"), [("http", b""), ("http", UNAVAILABLE), ("https", b"")])
def test_after_an_address_with_nothing_behind_it_another_is_asked(
    make_upstream: MakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, says: bytes
) -> None:
    """A connection can be made there: a balancer answers, or a middlebox, for what it does not reach."""
    good = make_upstream(tls=make_certificate(tmp_path)[0] if scheme == "https" else None)
    bad = RawServer(says) if says else ServesNobody()
    places = [("127.0.0.1", urlsplit(each.url).port) for each in (bad, good)]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: list(found))
    session, url = (
        Session("it", Timeouts(SECONDS, SECONDS), TLS(verify=False)),
        f"{scheme}://two{len(says)}{scheme}.example/v2/",
    )
    if says:
        assert get(session, url) == b""
    assert [get(session, url) for _ in range(2)] == [b"{}"] * 2
    bad.stop()
    assert len(good.exchanges) == 2


def test_a_new_connection_that_is_reset_is_an_error_at_once(server: Fickle, session: Session) -> None:
    server.newer, server.later = b"", server.reset
    with pytest.raises(UpstreamUnavailable):
        get(session, server.url)
    assert server.accepted == 1


def test_a_new_connection_that_is_told_it_was_too_slow_is_not_tried_again(session: Session) -> None:
    server = RawServer(b"HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\n\r\n")
    with session.send(HttpRequest("GET", server.url, {}, "asked")) as response:
        assert response.status_code == 408
    server.stop()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", b"HTTP/1.1 100\r\n"]
)
def test_a_part_of_a_head_is_no_answer(session: Session, head: bytes) -> None:
    server = RawServer(head)
    with pytest.raises(UpstreamUnavailable):
        get(session, server.url)
    server.stop()


def test_silence_on_both_ends_in_time(server: Fickle, session: Session) -> None:
    session = Session("it", Timeouts(SECONDS, 0.6), TLS())
    get(session, server.url)
    server.later, server.newer = server.be_silent, b""
    with pytest.raises(UpstreamTimeout):
        get(session, server.url)


@pytest.mark.parametrize(("idle", "connections"), [(0.0, 2), (SECONDS, 1)])
def test_a_connection_that_was_idle_for_long_is_not_used_again(server: Fickle, idle: float, connections: int) -> None:
    session = Session("it", Timeouts(SECONDS, SECONDS, idle), TLS())
    for _ in range(2):
        get(session, server.url)
    assert server.accepted == connections


def test_the_kernel_asks_whether_the_other_end_is_there(upstream: FakeUpstream) -> None:
    session = Session("it", Timeouts(SECONDS, SECONDS), TLS())
    upstream.add_blob(b"x" * 100_000)
    upstream.faults.hold_at = 50_000
    blob = upstream.add_blob(b"x" * 100_000)
    request = HttpRequest("GET", f"{upstream.url}/v2/library/app/blobs/{blob}", {}, "asked")
    with session.send(request) as response:
        connection: socket.socket = response.raw.connection.sock  # type: ignore[union-attr]
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 60
    upstream.faults.release()


@pytest.mark.parametrize("is_strict", [False, True])
def test_the_strict_checks_of_a_newer_python_are_the_operators_choice(
    make_upstream: MakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_strict: bool
) -> None:
    create, made = urllib3.util.ssl_.create_urllib3_context, list[ssl.SSLContext]()

    def as_of_python_3_13(**options: Any) -> ssl.SSLContext:
        made.append(create(**options))
        made[-1].verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        return made[-1]

    monkeypatch.setattr(pool, "create_urllib3_context", as_of_python_3_13)
    context, authority = make_certificate(tmp_path)
    session = Session("it", Timeouts(SECONDS, SECONDS), TLS(str(authority), is_strict=is_strict))
    with contextlib.suppress(UpstreamUnavailable):
        get(session, make_upstream(tls=context).url + "/v2/")
    assert [bool(each.verify_flags & ssl.VERIFY_X509_STRICT) for each in made] == [is_strict]
    assert [each.check_hostname for each in made] == [True]


def test_urllib3_is_made_as_we_believe() -> None:
    """What is overridden is there, and is what opens the socket."""
    assert callable(HTTPConnection._new_conn)
    assert isinstance(vars(HTTPConnection)["is_connected"], property)
    assert isinstance(vars(HTTPConnection)["is_closed"], property)
    opened = SimpleNamespace()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HTTPConnection, "_new_conn", lambda self: opened)
        connection: Any = HTTPConnection("registry.invalid")
        connection.connect()
        assert connection.sock is opened


class HangsUp(Listening):
    """Answers one request of each connection and then closes its own end; ``closed`` when we have closed ours."""

    def __init__(self) -> None:
        self.closed = threading.Semaphore(0)
        super().__init__()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(OK % b"one")
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
            self.closed.release()


@pytest.fixture
def hangs_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[HangsUp]:
    monkeypatch.setattr(idle_connections, "SWEEP_SECONDS", 0.05)
    server = HangsUp()
    yield server
    server.stop()


def test_idle_connections_that_upstream_has_closed_are_closed(hangs_up: HangsUp) -> None:
    session = Session("it", Timeouts(SECONDS, SECONDS), TLS())
    # One after the other, and again after nothing was open: whoever looks must not have stopped for good.
    for _ in range(3):
        assert get(session, hangs_up.url) == b"one"
        assert hangs_up.closed.acquire(timeout=SECONDS)


def test_idle_connections_that_are_sound_are_kept(server: Fickle, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = threading.Semaphore(0)
    monkeypatch.setattr(idle_connections, "SWEEP_SECONDS", 0.01)
    really = idle_connections._close_dead

    def look(pool: urllib3.HTTPConnectionPool) -> None:
        really(pool)
        looks.release()

    monkeypatch.setattr(idle_connections, "_close_dead", look)
    session = Session("it", Timeouts(SECONDS, SECONDS), TLS())
    assert get(session, server.url) == b"new"
    # The second look began after the answer's connection was given back.
    for _ in range(3):
        assert looks.acquire(timeout=SECONDS)
    assert get(session, server.url) == b"old"
    assert server.accepted == 1


def test_connections_that_will_not_be_reused_are_closed(hangs_up: HangsUp, server: Fickle) -> None:
    session = Session("it", Timeouts(SECONDS, SECONDS, idle=0.0), TLS())
    assert get(session, server.url) == b"new"
    assert server.left.wait(SECONDS)
