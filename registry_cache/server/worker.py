"""The gunicorn worker: gevent's, with what a registry mirror needs of it.

A TLS hello to a plain port is answered, because clients try one first and a mirror that stays silent costs them ten
seconds a try. Who asks for little passes a crowd that comes for blobs.
"""

from __future__ import annotations

import gc
import signal
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from typing import Any

import gevent
from gevent import socket
from gevent.event import Event
from gevent.server import StreamServer
from gunicorn import util
from gunicorn.http import wsgi
from gunicorn.workers import ggevent

from registry_cache.runtime.connection import ENVIRON_KEY
from registry_cache.server import bad_request, debug_listener, gunicorn_internals, reload, response
from registry_cache.server.sockets import InFlight, Socket, TlsSocket
from registry_cache.server.tls_handshake import PLAIN_ONLY, TLS_HELLO, Handshakes, linger, refuse_plainly

# As often as gunicorn's own loop.
_BEAT_SECONDS = 1.0

# How long a client may take from the first byte of its first request to the end of that head. One that is half sent
# holds a connection and costs its sender nothing; a client on the slowest line sends a head of 8 kB within this.
HEAD_SECONDS = 30.0

# Bytes of a connection's first request that are looked at before it is read, and what is in a blob's path.
_LOOKED_AT = 512
_BLOB = b"/blobs/"

# Of those who wait at a turnstile one passes in a turn of the loop, and this part of the others.
_PASSING = 16

# libev's highest priority: what waits for an idle moment with it waits for the next turn, whatever sockets are ready. A
# turn in which a thread reports to the loop does not count.
_EACH_TURN = 2

# Connections that a turn of the loop accepts at most: few enough that the other workers get their share of a crowd.
_ACCEPTED_A_TURN = 32


class Turnstile:
    """Lets few greenlets pass in a turn of the loop, so that what comes in between is served first."""

    def __init__(self) -> None:
        self._waiting: deque[Event] = deque()
        self._turning = False

    def wait(self) -> None:
        """Return at once where nobody has passed in this turn, else behind those who came before."""
        if not self._turning:
            self._turning = True
            gevent.spawn_raw(self._turn)
            return
        mine = Event()
        self._waiting.append(mine)
        mine.wait()

    def _turn(self) -> None:
        gevent.idle(_EACH_TURN)
        while self._waiting:
            for _ in range(1 + (len(self._waiting) - 1) // _PASSING):
                self._waiting.popleft().set()
            gevent.idle(_EACH_TURN)
        self._turning = False


class Listener(socket.socket):
    """A listener that tells its name, and whether it is that of ``http.debug.addr``, when a stop has closed it, too.

    What it accepted before may send its first bytes after that.
    """

    def __init__(self, accepting: socket.socket) -> None:
        """Take over the descriptor of ``accepting``."""
        super().__init__(accepting.family, accepting.type, accepting.proto, fileno=accepting.detach())
        self._address = super().getsockname()
        self.debug = debug_listener.is_debug(self)

    def getsockname(self) -> Any:
        return self._address


class Server(StreamServer):
    """Accepts a crowd as fast as it comes: in a turn of the loop as many as it has already, and one more.

    gunicorn lets several workers accept one a turn each; beside hundreds of streams a turn takes milliseconds, and the
    thousandth client would wait for seconds, with every ping behind it. Were it always many, the worker that wakes
    first would take all of a small crowd, and the other cores would have nothing to do.
    """

    def __init__(self, *args: Any, renew: Callable[[ssl.SSLContext], ssl.SSLContext], **kwargs: Any) -> None:
        """``renew`` turns the context that gunicorn made into the one to use now."""
        if args[0].debug:
            # Always plain: what scrapes and probes has no certificate to trust, and the address is nobody else's.
            kwargs.pop("ssl_context", None)
        if "ssl_context" in kwargs:
            self._handshakes = Handshakes(TlsSocket, partial(renew, kwargs["ssl_context"]))
        super().__init__(*args, **kwargs)

    @property
    def max_accept(self) -> int:
        """Asked by gevent at the begin of a turn in which somebody waits."""
        return min(1 + len(self.pool), _ACCEPTED_A_TURN)

    @max_accept.setter
    def max_accept(self, _: int) -> None:
        pass

    def set_spawn(self, spawn: Any) -> None:
        """Called by gevent with the pool that gunicorn has given it."""
        super().set_spawn(spawn)
        self._spawn = self._spawn_at_once

    def _spawn_at_once(self, *args: Any) -> None:
        """Begin to serve a connection. Called by the loop, which would do it behind all that is ready to run.

        That may be hundreds of streams of which the next bytes have just come.
        """
        self.pool.spawn(*args).switch()

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> None:
        """Serve a TLS connection. Called by gevent where it was given a context."""
        secure = self._handshakes.wrap(client_socket, address)
        if secure is not None:
            with closing(secure):
                self.handle(secure, address)


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

    wsgi: Callable[..., Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Called by gunicorn in its master, before the fork."""
        super().__init__(*args, **kwargs)
        self.generation = reload.generation()
        # Connections between two requests. One that has not sent its first is none of them: its request is on the way.
        self._idle: dict[gevent.Timeout, gevent.Greenlet] = {}
        self._quitting = False
        self._turnstile = Turnstile()
        self._in_flight = InFlight()

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
        self.sockets: list[Listener] = [Listener(each) for each in self.sockets]
        # gunicorn has no setting for the class of its server.
        ggevent.StreamServer = partial(Server, renew=self._renewed)
        # Nor for that of its answers.
        wsgi.Response = response.Response
        # Nor for what it answers where there is no request to hand to the application.
        util.write_error = bad_request.write_error
        gunicorn_internals.install(self.cfg)

    def load_wsgi(self) -> None:
        """Called by gunicorn in each new worker, before it serves."""
        super().load_wsgi()
        self.wsgi = _with_connection(self.wsgi)
        # Modules and settings stay for good: the collector would walk them again and again, and find nothing.
        gc.collect()
        gc.freeze()

    def _renewed(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Return what gunicorn's hook has by now in place of ``context``."""
        renewed: ssl.SSLContext = self.cfg.ssl_context(self.cfg, lambda: context)
        return renewed

    def notify(self) -> None:
        """Called by gunicorn every second, also while it waits for connections to end before it stops."""
        super().notify()
        if not self.alive:
            if self.generation != reload.generation():
                # Nobody waits for our end: those who have replaced us serve already.
                self.cfg.set("graceful_timeout", reload.FINISH_SECONDS)
            # Else every stop would last as long as some client keeps an unused connection.
            for waiting, greenlet in tuple(self._idle.items()):
                greenlet.kill(waiting, block=False)

    def run(self) -> None:
        """Called by gunicorn; serves until a stop, and until the last download that was begun here is done."""
        super().run()
        # Python would wait for them as well, but without the heartbeat, and the arbiter would take that for a hang.
        end = time.monotonic() + reload.FINISH_SECONDS
        while any(not each.daemon for each in threading.enumerate() if each is not threading.main_thread()):
            if time.monotonic() > end:
                break
            self.notify()
            gevent.sleep(_BEAT_SECONDS)

    def timeout_ctx(self) -> _Waiting:
        """Called by gunicorn around the wait for each request of a connection."""
        connection = gevent.getcurrent()
        served = getattr(connection, "served", False)
        connection.served = True
        return _Waiting(self.cfg.keepalive, self._idle) if served else _Waiting(HEAD_SECONDS, None)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection, from its first byte to its end."""
        if not isinstance(client, ssl.SSLSocket):
            client = Socket(client.family, client.type, client.proto, fileno=client.detach())
            client.debug = listener.debug
            if client.behind_nginx:
                client.passage = self._in_flight.passage()
            first = self._first_bytes(client)
            if not first:
                client.close()
                return
            if _BLOB in first.partition(b"\r\n")[0]:
                # A crowd comes for blobs: whoever asks for less need not wait until all of those are begun.
                self._turnstile.wait()
        super().handle(listener, client, addr)

    def _first_bytes(self, client: socket.socket) -> bytes:
        """Return what has come first, and stays to be read, if it is HTTP.

        Answers a TLS hello, which gunicorn would take for the begin of a request line.
        """
        client.settimeout(self.cfg.keepalive)
        try:
            first: bytes = client.recv(_LOOKED_AT, socket.MSG_PEEK)
            if first.startswith(TLS_HELLO):
                refuse_plainly(client, PLAIN_ONLY)
                return b""
        except OSError:
            return b""
        return first

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Serve one request; after one that carries a body, or may, close: nobody wants that body.

        Over bytes that nobody read the kernel resets a connection, and a push would be told that instead of our answer.

        gunicorn would read it to its end, and whoever sends as fast as we read would never let others have a turn.
        """
        # The same holds for requests that come without a pause: reading one, and answering it, may never wait. After a
        # wait a second turn would be a second one of each of hundreds of streams.
        if not sock.waited:
            gevent.sleep(0)
        sock.waited = False
        if req.method not in ("GET", "HEAD") or _carries_body(req):
            req.force_close()
            # Else gunicorn would ask for the body before we see the request.
            req._expected_100_continue = False
            try:
                return super().handle_request(listener_name, req, sock, addr)
            finally:
                with suppress(OSError):
                    linger(sock)
        return super().handle_request(listener_name, req, sock, addr)


def _with_connection(application: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``application``, told about the connection of each request."""

    def call(environ: dict[str, Any], start_response: Any) -> Any:
        environ[ENVIRON_KEY] = environ["gunicorn.socket"].connection()
        return application(environ, start_response)

    return call


def _carries_body(req: Any) -> bool:
    return any(
        name == "TRANSFER-ENCODING" or (name == "CONTENT-LENGTH" and value.strip("0")) for name, value in req.headers
    )
