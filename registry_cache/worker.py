"""The gunicorn worker: gevent's, with what a registry mirror needs of it.

Files leave by sendfile(2), which gevent's own sockets replace with reads of 8 kB; and a TLS hello to a plain port is
answered, because clients try one first and a mirror that stays silent costs them ten seconds a try. A client that
stops reading is let go: gunicorn would wait for it for good.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import ssl
import sys
import termios
from typing import IO, Any

import gevent
import gevent.ssl
from gevent import socket
from gevent.server import StreamServer
from gunicorn.workers import ggevent

# Bytes a call of sendfile takes at most, after which others have their turn.
_SEND_BLOCK = 512 * 1024

# How long a client may read nothing: else a thousand that are stopped would take every reader's place, at no cost to
# themselves. As long as nginx gives its own clients.
SEND_SECONDS = 60.0
# In how many parts that is waited for: one in which anything was read begins it anew.
_LOOKS = 6

# Few enough that the other workers get their share of a crowd.
_ACCEPTED_A_TURN = 32

_TLS_HANDSHAKE = b"\x16"
_PLAIN_HTTP_ONLY = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: 50\r\n\r\nThis port speaks plain HTTP; the client sent TLS.\n"
)


class _Bounded:
    """What a client's connection is besides: one that waits to send for SEND_SECONDS at most while nothing is read."""

    __slots__ = ()

    def _wait(self: Any, watcher: Any, *args: Any, **kwargs: Any) -> None:
        """Called by gevent wherever a socket would block. Raises OSError."""
        wait = super()._wait  # type: ignore[misc]
        if watcher is not self._write_event:
            wait(watcher, *args, **kwargs)
            return
        left, looks = self._unread(), 0
        while gevent.with_timeout(SEND_SECONDS / _LOOKS, wait, watcher, *args, timeout_value=True, **kwargs):
            before, left = left, self._unread()
            # A slow client frees too little of the kernel's buffer for a write, and still it reads.
            looks = looks + 1 if left >= before else 0
            if looks == _LOOKS:
                # The one error that gunicorn takes for an end of the connection without a traceback.
                raise ConnectionResetError(errno.ECONNRESET, "the client reads nothing")

    def _unread(self: Any) -> int:
        """Return how many bytes of what was sent the client's machine has not confirmed."""
        return int.from_bytes(fcntl.ioctl(self.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)


class _TlsSocket(_Bounded, gevent.ssl.SSLSocket):
    """A client's connection by TLS."""


class _Socket(_Bounded, socket.socket):
    """A client's connection whose ``sendfile`` is the kernel's."""

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> int:
        """Send ``count`` bytes of ``file`` from ``offset``; return how many. Raises OSError."""
        sent = 0
        # Our own bodies log what was really sent.
        count_sent = getattr(file, "count_sent", lambda _: None)
        while count is None or sent < count:
            block = _SEND_BLOCK if count is None else min(_SEND_BLOCK, count - sent)
            try:
                done = os.sendfile(self.fileno(), file.fileno(), offset + sent, block)
            except BlockingIOError:
                self._wait(self._write_event)
                continue
            if done == 0:
                break
            sent += done
            count_sent(done)
            gevent.sleep(0)
        return sent


class _Server(StreamServer):
    """Accepts a crowd as fast as it comes.

    gunicorn lets several workers accept one connection a turn of the loop each; beside hundreds of streams a turn
    takes milliseconds, and the thousandth client would wait for seconds, with every ping behind it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "ssl_context" in kwargs:
            kwargs["ssl_context"].sslsocket_class = _TlsSocket
        super().__init__(*args, **kwargs)

    @property
    def max_accept(self) -> int:
        return _ACCEPTED_A_TURN

    @max_accept.setter
    def max_accept(self, _: int) -> None:
        pass

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> None:
        """Serve a TLS connection; one whose handshake fails is a client's affair and not worth a traceback."""
        try:
            super().wrap_socket_and_handle(client_socket, address)
        except (ssl.SSLError, OSError):
            client_socket.close()


class _Waiting(gevent.Timeout):
    """The wait for a connection's next request: ends after ``seconds``, or when the worker stops."""

    def __init__(self, seconds: float, idle: dict[gevent.Timeout, gevent.Greenlet] | None) -> None:
        """``idle`` takes it up while it lasts; None where a stop must not end it."""
        super().__init__(seconds, exception=False)
        self._waits = {} if idle is None else idle

    def __enter__(self) -> _Waiting:
        self._waits[self] = gevent.getcurrent()
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> bool | None:
        del self._waits[self]
        expired: bool | None = super().__exit__(*raised)
        return expired


class Worker(ggevent.GeventWorker):
    """What ``worker_class`` names."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Connections between two requests. One that has not sent its first is none of them: its request is on the way.
        self._idle: dict[gevent.Timeout, gevent.Greenlet] = {}
        self._quitting = False

    def handle_quit(self, sig: int, frame: Any) -> None:
        """Called for INT and QUIT. Ctrl-C brings both, from the terminal and from gunicorn's master.

        The second would interrupt the exit that the first began, with a traceback.
        """
        if not self._quitting:
            self._quitting = True
            super().handle_quit(sig, frame)

    def init_signals(self) -> None:
        """Called by gunicorn in each new worker."""
        super().init_signals()
        # Ctrl-C reaches every process of the terminal; the arbiter tells us, and twice would be a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def patch(self) -> None:
        """Called by gunicorn in each new worker, before the application is loaded."""
        super().patch()
        # gunicorn has no setting for the class of its server.
        ggevent.StreamServer = _Server

    def notify(self) -> None:
        """Called by gunicorn every second, also while it waits for connections to end before it stops."""
        super().notify()
        if not self.alive:
            # Else every stop would last as long as some client keeps an unused connection.
            for waiting, greenlet in tuple(self._idle.items()):
                greenlet.kill(waiting, block=False)

    def timeout_ctx(self) -> _Waiting:
        """Called by gunicorn around the wait for each request of a connection."""
        connection = gevent.getcurrent()
        served = getattr(connection, "served", False)
        connection.served = True
        return _Waiting(self.cfg.keepalive, self._idle if served else None)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection, from its first byte to its end."""
        if not isinstance(client, ssl.SSLSocket):
            client = _Socket(client.family, client.type, client.proto, fileno=client.detach())
            if not self._speaks_http(client):
                client.close()
                return
        super().handle(listener, client, addr)

    def _speaks_http(self, client: socket.socket) -> bool:
        """Look at the first byte; answer a TLS hello, which gunicorn would take for the begin of a request line."""
        client.settimeout(self.cfg.keepalive)
        try:
            first = client.recv(1, socket.MSG_PEEK)
            if first == _TLS_HANDSHAKE:
                client.sendall(_PLAIN_HTTP_ONLY)
        except OSError:
            return False
        return first not in (b"", _TLS_HANDSHAKE)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Serve one request; after one that may carry a body, close: it is refused, and nobody reads that body."""
        if req.method not in ("GET", "HEAD"):
            req.force_close()
            # Else gunicorn would ask for the body before we see the request.
            req._expected_100_continue = False
        return super().handle_request(listener_name, req, sock, addr)
