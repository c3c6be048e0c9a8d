"""A threaded HTTP/1.1 server on 127.0.0.1 with a journal: what the fake upstream and the fake CDN have in common."""

import io
import socket
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.harness.journal import Exchange, Journal
from tests.harness.wire import Cut, Reply, send

BACKLOG = 4096
STOP_SECONDS = 40.0  # for handler threads to end once their sockets are shut
TLS_HELLO = b"\x16"


class Loopback(Journal):
    """Subclasses say what to `answer`. `problems` are things that must fail the test; the fixture looks at teardown."""

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.stopping = threading.Event()
        self._tls = tls
        self._address = (host, 0)
        self.start()

    def answer(self, exchange: Exchange) -> Reply:
        """The reply to one request. May block; raises Cut to close the connection without one."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        host, port = self._address
        return f"{'https' if self._tls else 'http'}://{host}:{port}"

    @property
    def address(self) -> str:
        """host:port, as image names want it."""
        return self.url.partition("://")[2]

    def start(self) -> None:
        """Listen; after a `stop`, on the same port as before."""
        self.stopping.clear()
        self._server = _Server(self._address, self, self._tls)
        self._address = (self._address[0], self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and cut every connection: from now on the port refuses. Does nothing if stopped."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        self._server.end()
        self._thread.join(STOP_SECONDS)

    def hang_up(self) -> None:
        """Close all connections, and listen on: what is held then is not asked again by another, as on an old one."""
        self.stop()
        self.start()

    def serve(self, handler: "_Handler") -> None:
        path, _, query = handler.path.partition("?")
        exchange = Exchange(handler.command, path, query, handler.headers, handler.connection)
        self.begin(exchange)
        try:
            send(self.answer(exchange), exchange, self, self.stopping)
        except Cut:
            handler.close_connection = True
        finally:
            self.end(exchange)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "_Server"

    def handle(self) -> None:
        # skopeo and dockerd try TLS first; its hello has no end of line, so reading one would block.
        if isinstance(self.rfile, io.BufferedReader) and self.rfile.peek(1)[:1] == TLS_HELLO:
            self.connection.sendall(b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\n")
            return
        super().handle()

    def do_GET(self) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # nobody here reads a request's body
        self.server.loopback.serve(self)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = BACKLOG

    def __init__(self, address: tuple[str, int], loopback: Loopback, tls: ssl.SSLContext | None) -> None:
        super().__init__(address, _Handler)
        self.loopback = loopback
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._settled = threading.Condition()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._tls:
            # The handshake is the handler thread's: a client that is slow at it must not keep others from connecting.
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._settled:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._settled:
            self._open.discard(request)
            self._settled.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, OSError | ValueError):  # those are clients that left, and sockets we closed ourselves
            self.loopback.problems.append(f"the fake itself failed: {error!r}")

    def end(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)  # wakes serve_forever at once
        self.shutdown()
        with self._settled:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:  # the client closed it first
                    continue
            if not self._settled.wait_for(lambda: not self._open, STOP_SECONDS):
                raise AssertionError(f"{len(self._open)} handler threads of the fake did not end")
        self.server_close()
