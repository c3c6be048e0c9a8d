"""The gunicorn worker: gevent's, with what a registry mirror needs of it.

A TLS hello to a plain port is answered, because clients try one first and a mirror that stays silent costs them ten
seconds a try. A client that asks for little passes a crowd that comes for blobs.
"""

from __future__ import annotations

import ssl
import time
from functools import partial
from typing import Any

import gevent
from gevent import socket

from registry_cache.runtime import unfinished
from registry_cache.runtime.log import Log
from registry_cache.server import half_sent, reload
from registry_cache.server.acceptor import Acceptor, Listener, TurnQueue
from registry_cache.server.bad_request import refuse_plainly
from registry_cache.server.gunicorn_internals import GunicornWorker
from registry_cache.server.send_slots import SendSlots
from registry_cache.server.sockets import Socket, TlsSocket
from registry_cache.server.tls_handshake import PLAIN_ONLY, TLS_HELLO, Handshakes

# As often as gunicorn's own loop.
_BEAT_SECONDS = 1.0

# How long a client may take from the first byte of its first request to the end of that head. One that is half sent
# holds a connection and costs its sender nothing; a client on the slowest line sends a head of 8 kB within this.
HEAD_TIMEOUT_SECONDS = 30.0

# Bytes of a connection's first request that are looked at before it is read, and what is in a blob's path.
_PEEKED_BYTES = 512
_BLOB = b"/blobs/"


_log = Log(__name__)


class _IdleWait(gevent.Timeout):
    """The wait for a connection's next request: ends after ``seconds``, or when the worker stops."""

    def __init__(self, seconds: float, idle: dict[gevent.Timeout, gevent.Greenlet] | None) -> None:
        """``idle`` has it while it lasts; None where a stop must not end it."""
        super().__init__(seconds, exception=False)
        self._waits = {} if idle is None else idle

    def __enter__(self) -> _IdleWait:
        self._waits[self] = gevent.getcurrent()
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> bool | None:
        del self._waits[self]
        expired: bool | None = super().__exit__(*raised)
        return expired


class Worker(GunicornWorker):
    """What ``worker_class`` names."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Called by gunicorn in its master, before the fork."""
        super().__init__(*args, **kwargs)
        self.generation = reload.generation()
        self._may_finish = False
        # Connections between two requests. One that has not sent its first is none of them: its request is on the way.
        self._idle: dict[gevent.Timeout, gevent.Greenlet] = {}
        self._blob_queue = TurnQueue()
        self._slots = SendSlots()
        self._handshakes: Handshakes | None = None

    def listener(self, accepting: socket.socket) -> Listener:
        """Return what the worker listens on in place of ``accepting``."""
        return Listener(accepting)

    def acceptor(self, listener: Listener, connections: int, context: ssl.SSLContext | None) -> Acceptor:
        """Return what accepts on ``listener``; ``context`` is gunicorn's at this moment, None without TLS."""
        if context is not None:
            # What its hook has by now: a certificate may have been renewed.
            self._handshakes = Handshakes(TlsSocket, lambda: self.cfg.ssl_context(self.cfg, lambda: context))
        return Acceptor(listener, connections, partial(self.handle, listener))

    def stopping(self) -> None:
        """Called every second once the worker is to stop."""
        if self.generation != reload.generation():
            # Nobody waits for our end: those who have replaced us serve already.
            self._take_time()
        # Otherwise every stop would last as long as some client keeps an unused connection.
        for waiting, greenlet in tuple(self._idle.items()):
            greenlet.kill(waiting, block=False)

    def orphaned(self) -> None:
        """Called once the master is gone: whoever starts another one finds the address free within a second."""
        _log.warning("the master is gone: finishing what was begun")
        self._take_time()

    def _take_time(self) -> None:
        self.cfg.set("graceful_timeout", reload.FINISH_SECONDS)
        self._may_finish = True

    def finish(self) -> None:
        """Return when the last download that was begun here is done; at once where this is a stop.

        It would end with this process, and clients of another worker who follow it would cost upstream a second one.
        """
        end = time.monotonic() + reload.FINISH_SECONDS
        while self._may_finish and unfinished.is_left() and time.monotonic() < end:
            self.notify()
            gevent.sleep(_BEAT_SECONDS)

    def request_timeout(self) -> _IdleWait:
        """Return what bounds the wait for a connection's next request."""
        connection = gevent.getcurrent()
        is_first = not getattr(connection, "has_asked", False)
        connection.has_asked = True
        return _IdleWait(HEAD_TIMEOUT_SECONDS, None) if is_first else _IdleWait(self.cfg.keepalive, self._idle)

    def connect(self, listener: Listener, client: Any, address: Any) -> Socket | TlsSocket | None:
        """Return the connection to serve in place of ``client``; None if it is over already."""
        plain = Socket(client.family, client.type, client.proto, fileno=client.detach())
        plain.client_address = "" if plain.is_behind_nginx else address[0]
        # Plain on the debug address, always: what scrapes and probes has no certificate to trust.
        if self._handshakes is not None and not listener.debug:
            secure: TlsSocket | None = self._handshakes.wrap(plain)
            if secure is not None:
                secure.peers = listener.peers
            return secure
        plain.debug = listener.debug
        plain.peers = listener.peers
        if plain.is_behind_nginx:
            plain.slot = self._slots.slot()
        first = self._first_bytes(plain)
        if not first:
            plain.close()
            return None
        if _BLOB in first.partition(b"\r\n")[0]:
            # A crowd comes for blobs: a client that asks for less need not wait until all of those are begun.
            self._blob_queue.wait()
        return plain

    def _first_bytes(self, client: Socket) -> bytes:
        """Return what has come first, and stays to be read, if it is HTTP.

        Answers a TLS hello, which gunicorn would take for the begin of a request line.
        """
        client.settimeout(self.cfg.keepalive)
        try:
            with half_sent.heads.waiting(client):
                first: bytes = client.recv(_PEEKED_BYTES, socket.MSG_PEEK)
            if first.startswith(TLS_HELLO):
                refuse_plainly(client, PLAIN_ONLY)
                return b""
        except OSError:
            return b""
        return first
