"""Every private or undocumented name of a dependency that we replace, override or read; no other module does.

gunicorn and gevent promise little beyond settings and server hooks. ``internal_names`` lists what we use besides, and
what for. The list is checked when this module is imported, which is at the start of the server: a version that has
changed one of them stops the start with one message, and not a pull.
"""

from __future__ import annotations

import gc
import io
import os
import signal
from bisect import bisect_left
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Any

import gevent
from gevent import socket
from gunicorn import util
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.arbiter import Arbiter
from gunicorn.http import errors, message, parser, unreader, wsgi
from gunicorn.sock import TCP6Socket, TCPSocket
from gunicorn.workers import ggevent
from prometheus_client import Histogram, values

from registry_cache.runtime.connection import ENVIRON_KEY
from registry_cache.runtime.dependency_check import check
from registry_cache.server import bad_request, half_sent, request_caches, request_head, send_timeout
from registry_cache.server.internal_names import INTERNALS
from registry_cache.server.response import HeadBuffer

check(INTERNALS)


class GunicornApplication(WSGIApplication):
    """gunicorn's, but for the folder that it is started in, from which nothing may be imported."""

    def chdir(self) -> None:
        """Called by gunicorn before and after it reads its settings; its own puts the folder first on Python's path."""
        os.chdir(self.cfg.chdir)


class Master(Arbiter):
    """gunicorn's master process, as the documented hook ``on_starting`` makes ours of it (docs/adr/0016)."""

    _may_reload: Callable[[Master], bool]
    _every_second: Callable[[Master], None]

    @staticmethod
    def take_over(
        arbiter: Arbiter,
        command: list[str],
        may_reload: Callable[[Master], bool],
        every_second: Callable[[Master], None],
    ) -> None:
        """Turn ``arbiter`` into ours. ``command`` starts the next master by USR2, the program's name included."""
        arbiter.__class__ = Master
        arbiter._may_reload, arbiter._every_second = may_reload, every_second
        arbiter.START_CTX["args"] = command

    def handle_hup(self) -> None:
        """Called by gunicorn, which by itself ends its master over whatever a reload finds wrong."""
        if self._may_reload(self):
            super().handle_hup()

    def manage_workers(self) -> None:
        """Called by gunicorn every second."""
        self._every_second(self)
        super().manage_workers()

    @property
    def workers(self) -> dict[int, Any]:
        """The workers that live, by process id: also those that only finish what they began."""
        workers: dict[int, Any] = self.WORKERS
        return workers

    @property
    def wanted_workers(self) -> int:
        """How many workers are to serve."""
        return int(self.num_workers)

    def start_worker(self) -> None:
        """Fork one worker more."""
        self.spawn_worker()

    @property
    def listeners(self) -> list[Any]:
        """What each new worker listens on; empty once a stop has begun."""
        listeners: list[Any] = self.LISTENERS
        return listeners

    @listeners.setter
    def listeners(self, listeners: list[Any]) -> None:
        self.LISTENERS = listeners

    @property
    def has_systemd_sockets(self) -> bool:
        """Whether the sockets were handed over by systemd."""
        return bool(self.systemd)

    def binds_to(self, address: str) -> bool:
        """Tell whether the settings name ``address`` and nothing else: ``--bind`` goes before the configuration."""
        return bool(self.cfg.settings["bind"].value == [address])

    def open_listener(self, host: str, port: int, descriptor: int | None) -> Any:
        """Return a listener of the kind that gunicorn has; it takes over ``descriptor``. Raises OSError."""
        kind = TCP6Socket if ":" in host else TCPSocket
        return kind((host, port), self.cfg, self.log, fd=descriptor)

    def tell_next_master(self, name: str, value: str) -> None:
        """Set a variable in the environment of the command that USR2 runs."""
        self.cfg.env_orig[name] = value


class GunicornWorker(ggevent.GeventWorker):
    """gunicorn's worker. What is ours to decide it asks ``worker.Worker``, which says how."""

    wsgi: Callable[..., Any]
    sockets: list[Any]
    ppid: int
    _is_quitting = False

    def listener(self, accepting: socket.socket) -> socket.socket:
        raise NotImplementedError

    def acceptor(self, listener: Any, connections: int, context: Any) -> Any:
        raise NotImplementedError

    def connect(self, listener: Any, client: Any, address: Any) -> Any | None:
        raise NotImplementedError

    def request_timeout(self) -> AbstractContextManager[Any]:
        raise NotImplementedError

    def stopping(self) -> None:
        raise NotImplementedError

    def orphaned(self) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        raise NotImplementedError

    def patch(self) -> None:
        """Called by gunicorn in each new worker, before the application is loaded."""
        super().patch()
        self.sockets = [self.listener(each) for each in self.sockets]
        # gunicorn has no setting for the class of its answers, nor for what it says where there is no request.
        wsgi.Response = Response
        parser.SocketUnreader = HeadUnreader
        util.write_error = write_error
        remember_settings(self.cfg)
        cache_per_request_work()

    def server_class(self, listener: Any, spawn: Any, ssl_context: Any = None, **_: Any) -> Any:
        """Called by gunicorn as the class of a server for ``listener``."""
        return self.acceptor(listener, spawn.size, ssl_context)

    def load_wsgi(self) -> None:
        """Called by gunicorn in each new worker, before it serves."""
        super().load_wsgi()
        self.wsgi = _with_connection(self.wsgi)
        # Modules and settings stay for good: the collector would walk them again and again, and find nothing.
        gc.collect()
        gc.freeze()

    def init_signals(self) -> None:
        """Called by gunicorn in each new worker."""
        super().init_signals()
        # Ctrl-C reaches every process of the terminal; the arbiter tells us, and twice would be a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def handle_quit(self, sig: int, frame: Any) -> None:
        """Called for QUIT. A second one would interrupt the exit that the first began, with a traceback."""
        if not self._is_quitting:
            self._is_quitting = True
            super().handle_quit(sig, frame)

    def notify(self) -> None:
        """Called by gunicorn every second, also while it waits for connections to end before it stops.

        gunicorn would exit in the middle of every answer once the master is gone, killed for want of memory perhaps.
        """
        if self.ppid != os.getppid():
            self.ppid, self.alive = os.getppid(), False
            self.orphaned()
        super().notify()
        if not self.alive:
            self.stopping()

    def run(self) -> None:
        """Called by gunicorn; serves until a stop."""
        super().run()
        self.finish()

    def timeout_ctx(self) -> AbstractContextManager[Any]:
        """Called by gunicorn around the wait for each request of a connection."""
        return self.request_timeout()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection, from its first byte to its end."""
        connection = self.connect(listener, client, addr)
        if connection is not None:
            super().handle(listener, connection, addr)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Serve one request; after one that carries a body, or may, close: nobody wants that body.

        Over bytes that nobody read the kernel resets a connection, and a push would be told that instead of our answer.
        gunicorn would read it to its end; a client that sends as fast as we read would never let others have a turn.
        """
        # The same holds for requests that come without a pause: reading one, and answering it, may never wait. After a
        # wait a second turn would be a second one of each of hundreds of streams.
        if not sock.has_waited:
            gevent.sleep(0)
        sock.has_waited = False
        hosts, carries_body = _look_at_headers(req)
        # On this machine's own socket, programs may leave it out: they have no name for whom they speak to.
        if hosts > 1 or (not hosts and req.version >= (1, 1) and not sock.is_behind_nginx):
            raise errors.InvalidHeader(f"Host: a request by HTTP/1.1 has one, and not {hosts}", req=req)
        if req.method in ("GET", "HEAD") and not carries_body:
            return super().handle_request(listener_name, req, sock, addr)
        req.force_close()
        # Otherwise gunicorn would ask for the body before we see the request.
        req._expected_100_continue = False
        try:
            return super().handle_request(listener_name, req, sock, addr)
        finally:
            with suppress(OSError):
                bad_request.linger(sock)


class HeadUnreader(unreader.SocketUnreader):
    """gunicorn's reader of a connection, which gives the parser a whole head at once (``request_head``)."""

    buf: io.BytesIO

    def read(self, size: int | None = None, *args: Any, **kwargs: Any) -> bytes:
        """Called by gunicorn, without ``size`` for a head. Raises OSError and gunicorn's own errors."""
        if size is not None or args or kwargs:
            data: bytes = super().read(size, *args, **kwargs)
            return data
        held, self.buf = self.buf.getvalue(), io.BytesIO()
        waiting = partial(half_sent.heads.waiting, self.sock)
        begin = waiting if self.sock.is_silent else nullcontext
        self.sock.is_silent = False
        try:
            return request_head.read_head(held, self.chunk, begin, waiting)
        except request_head.LineTooLong as error:
            raise errors.LimitRequestLine(error.size, request_head.LONGEST_LINE) from error
        except request_head.HeadTooLarge as error:
            raise errors.LimitRequestHeaders(str(error)) from error
        except request_head.BadHead as error:
            raise errors.InvalidHeader(str(error)) from error


class Response(wsgi.Response):
    """gunicorn's answer, whose head leaves with its body, and whose body may have parts of files."""

    def __init__(self, req: Any, sock: Any, cfg: Any) -> None:
        super().__init__(req, HeadBuffer(sock), cfg)

    def close(self) -> None:
        """Called by gunicorn when the application has no more to say."""
        super().close()
        self.sock.flush()

    def write(self, arg: Any) -> None:
        """Called by gunicorn for each piece of a body: bytes, or an ``api.blobs.PartBody``. Raises OSError."""
        if isinstance(arg, bytes):
            super().write(arg)
            return
        self.send_headers()
        # Only bodies of a known length come in parts.
        length = min(arg.length, self.response_length - self.sent)
        sent = self.sock.sendfile(arg, arg.offset, length)
        self.sent += sent
        if sent < length:
            arg.fell_short(sent)


class SendWaits:
    """A socket of gevent's that is looked at while it waits to send (``send_timeout``)."""

    __slots__ = ()

    # Others had their turn before the request that is read now: a greenlet begins behind them all.
    has_waited = True

    def _wait(self: Any, watcher: Any, *args: Any, **kwargs: Any) -> None:
        """Called by gevent wherever a socket would block. Raises OSError."""
        wait = super()._wait  # type: ignore[misc]
        if watcher is not self._write_event:
            self.has_waited = True
            wait(watcher, *args, **kwargs)
            return
        send_timeout.timeouts.begin(self)
        try:
            wait(watcher, *args, **kwargs)
        finally:
            send_timeout.timeouts.stop(self)

    def wait_to_send(self: Any) -> None:
        """Return when the kernel takes bytes again. Raises OSError."""
        self._wait(self._write_event)

    def cancel_send(self: Any, error: OSError) -> None:
        """Let the wait to send raise ``error``."""
        socket.cancel_wait(self._write_event, error)

    def cancel_receive(self: Any, error: OSError) -> None:
        """Let the wait to receive raise ``error``."""
        socket.cancel_wait(self._read_event, error)


def write_error(sock: Any, status: int, _reason: str, why: str) -> None:
    """Answer in place of ``gunicorn.util.write_error``. Raises OSError."""
    sock.setblocking(False)
    sock.sendall(bad_request.answer(status, why))


def remember_settings(settings: Any) -> None:
    """Let each of gunicorn's settings be an attribute: it is two calls otherwise, thirty times a request.

    But for how long a stop takes, which a worker that was replaced sets anew.
    """
    names = settings.settings.keys() - {"graceful_timeout"}
    vars(settings).update({name: settings.settings[name].get() for name in names})


def cache_per_request_work() -> None:
    """Let this process work out once what gunicorn does for each request."""
    util.http_date = request_caches.once_a_second(util.http_date)
    message._ip_in_allow_list = request_caches.once_a_peer(message._ip_in_allow_list)
    wsgi.WSGIErrorsWrapper = request_caches.one_stream(wsgi.WSGIErrorsWrapper)


def begin_tls(socket_class: type[Any], client: Any, context: Any) -> Any:
    """Return a connection of ``socket_class``, before its handshake, that takes over the descriptor of ``client``.

    ``context`` may be one that was made in the master, before gevent patched the standard library: its own method would
    make a socket of the standard library.
    """
    return socket_class(client, server_side=True, do_handshake_on_connect=False, _context=context)


def count_in_slot(slot: int) -> None:
    """Let metrics that are imported from now on be kept in the files of ``slot`` (``metrics_file``)."""
    values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]


def observe_many(histogram: Histogram, amounts: Mapping[float, int]) -> None:
    """Observe each amount so many times: one by one it would take a microsecond for each."""
    for amount, count in amounts.items():
        histogram._sum.inc(amount * count)
        histogram._buckets[bisect_left(histogram._upper_bounds, amount)].inc(count)


def metrics_file(kind: str, slot: int) -> str:
    """Return the name of the file in which prometheus_client keeps metrics of one kind."""
    return f"{kind}_{slot}.db"


def _look_at_headers(req: Any) -> tuple[int, bool]:
    """Return how many hosts a request names (RFC 9112 §3.2: one), and whether it carries a body."""
    hosts, carries_body = 0, False
    for name, value in req.headers:
        if name == "HOST":
            hosts += 1
        elif name == "TRANSFER-ENCODING" or (name == "CONTENT-LENGTH" and value.strip("0")):
            carries_body = True
    return hosts, carries_body


def _with_connection(application: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``application``, told about the connection of each request."""

    def call(environ: dict[str, Any], start_response: Any) -> Any:
        environ[ENVIRON_KEY] = environ["gunicorn.socket"].connection()
        return application(environ, start_response)

    return call
