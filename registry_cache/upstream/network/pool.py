"""Connections to upstream that are kept for reuse: which may still be used, and how they are opened.

urllib3's connection classes have no public way to open their socket by ourselves, so ``_new_conn`` is overridden here.
A version of urllib3 or requests that opens or keeps connections in another way is refused when this is imported.
"""

from __future__ import annotations

import errno
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

import requests
import requests.adapters
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context, resolve_cert_reqs
from urllib3.util.wait import wait_for_read

from registry_cache.runtime.dependency_check import Internal, check
from registry_cache.upstream.network.connect import connect, record_failure
from registry_cache.upstream.network.idle_connections import IdleSweeper
from registry_cache.upstream.network.url import Url
from registry_cache.upstream.network.wire import BoundedResponse
from registry_cache.upstream.network.zones import EVERYWHERE, Reach, Zone, zone_of

_OPENED = "connections by happy eyeballs, and to no address that is refused"
_KEPT = "idle connections that are closed in time"
check(
    (
        *(
            Internal(f"urllib3.connection:{each}._new_conn", _OPENED, ("self",), f"urllib3.connection:{each}.connect")
            for each in ("HTTPConnection", "HTTPSConnection")
        ),
        Internal("urllib3:PoolManager.pool_classes_by_scheme", _OPENED, None, "_new_pool", instance=True),
        Internal("urllib3:PoolManager.pools", _KEPT, None, "connection_from_pool_key", instance=True),
        Internal("urllib3:HTTPConnectionPool.pool", _KEPT, None, "_get_conn", instance=True),
        Internal("requests.adapters:HTTPAdapter.poolmanager", _KEPT, None, "init_poolmanager", instance=True),
        Internal("requests.adapters:HTTPAdapter.proxy_manager", _KEPT, None, "proxy_manager_for", instance=True),
    )
)

# A firewall or NAT may have forgotten an idle connection, and then drops what is sent on it.
IDLE_SECONDS = 60.0
# A reused connection that is silent for so long may be dead: the request is sent on a new one as well.
SILENCE_SECONDS = 1.0
_POLL_SECONDS = 0.02
# What stands at this address has nothing behind it; what stands at another may have.
_BROKEN = (502, 503, 504)

# Connections whose other end is gone are noticed while a body pauses, and a NAT keeps those in mind that are not.
_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]


class OtherAnswered(Exception):
    """The request that was sent on a new connection was answered first, by ``response``."""

    def __init__(self, response: requests.Response) -> None:
        super().__init__()
        self.response = response


@dataclass(slots=True)
class Attempt:
    """One sending of a request, for the connection that it goes over.

    ``url``: where it goes, whatever requests and urllib3 would make of it: they write paths anew, which breaks
    signatures. ``is_fresh``: no connection is reused. ``reach``: where an address must be to be connected to.
    ``send_again``: sends the same request on a new connection. Filled in on the way: ``was_reused``; ``other``, the
    answer on the new connection; ``zone``, where the other end is, None until there is one; ``has_others``: this
    address of the host has failed, and there are others.
    """

    url: Url
    is_fresh: bool = False
    reach: Reach = EVERYWHERE
    send_again: Callable[[], Future[requests.Response]] | None = None
    was_reused: bool = field(default=False, init=False)
    other: Future[requests.Response] | None = field(default=None, init=False)
    zone: Zone | None = field(default=None, init=False)
    has_others: bool = field(default=False, init=False)


_current: ContextVar[Attempt | None] = ContextVar("attempt", default=None)


class using:
    """Tell the connections that are used inside, in this thread, of ``attempt``."""

    __slots__ = ("_attempt", "_token")

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def __enter__(self) -> None:
        self._token = _current.set(self._attempt)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


class _Connection(HTTPConnection):
    """Opens by happy eyeballs, and is not reused after it was idle for long."""

    idle_seconds = IDLE_SECONDS
    is_strict = False
    sweeper: IdleSweeper | None = None
    _is_new = True
    _used_at = 0.0
    _zone = Zone.RESERVED
    _address: tuple[str, int, Any] | None = None
    response_class = BoundedResponse

    @property
    def is_connected(self) -> bool:
        """Whether the pool may use it again."""
        attempt = _current.get()
        if (attempt and attempt.is_fresh) or time.monotonic() - self._used_at > self.idle_seconds:
            return False
        # It may have been opened for somebody who may send us further in.
        if attempt and not self.proxy and self._zone not in attempt.reach:
            return False
        return super().is_connected

    def connect(self) -> None:
        self._is_new = True
        super().connect()
        if self.sweeper:
            self.sweeper.watch(self)

    def request(self, method: str, url: str, *arguments: Any, **options: Any) -> None:
        attempt = _current.get()
        if attempt:
            attempt.was_reused = not self.is_closed and not self._is_new
            # What is behind a proxy has been judged by its name.
            attempt.zone = attempt.zone if self.proxy else self._zone
            # A proxy is sent the whole.
            url = attempt.url.target if url.startswith("/") else str(attempt.url)
        super().request(method, url, *arguments, **options)

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        attempt = _current.get()
        if attempt and attempt.was_reused and attempt.send_again:
            self._race(attempt, attempt.send_again)
        try:
            response = super().getresponse()
        except (OSError, HTTPException):
            # One that was idle may have been forgotten on the way.
            if self._is_new:
                self._record_failure()
            raise
        self._is_new, self._used_at = False, time.monotonic()
        if response.status in _BROKEN and self._record_failure():
            # The next request goes to another address.
            self._used_at = float("-inf")
        return response

    def _record_failure(self) -> bool:
        """Note that the other end accepts connections and is of no use; return whether the host has other addresses."""
        has_others = self._address is not None and record_failure(*self._address)
        if attempt := _current.get():
            attempt.has_others = has_others
        return has_others

    def _race(self, attempt: Attempt, send_again: Callable[[], Future[requests.Response]]) -> None:
        """Return when there is an answer here. Raises OtherAnswered, TimeoutError."""
        if self.sock is None or wait_for_read(self.sock, SILENCE_SECONDS):
            return
        ends_at = time.monotonic() + (self.timeout or float("inf"))
        attempt.other = other = send_again()
        while not wait_for_read(self.sock, _POLL_SECONDS):
            if other.done() and other.exception() is None:
                raise OtherAnswered(other.result())
            if time.monotonic() > ends_at:
                raise TimeoutError(errno.ETIMEDOUT, "read timed out")

    def _new_conn(self) -> socket.socket:
        attempt = _current.get()
        # A proxy that the operator has chosen may be anywhere.
        direct = attempt if not self.proxy else None
        host, reach = (direct.url.host, direct.reach) if direct else (self.host, EVERYWHERE)
        timeout = self.timeout if isinstance(self.timeout, int | float) else None
        try:
            options = [*(self.socket_options or ()), *_KEEPALIVE]
            found = connect(host, self.port, timeout, options, reach=reach)
            address = found.getpeername()
            self._address, self._zone = (host, self.port, address), zone_of(str(address[0]))
            if direct:
                direct.zone = self._zone
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"connecting to {self.host} timed out") from error
        except OSError as error:
            raise NewConnectionError(self, f"cannot connect: {error}") from error
        sys.audit("http.client.connect", self, self.host, self.port)
        return found


class _TlsConnection(_Connection, HTTPSConnection):
    """The same with TLS."""

    def connect(self) -> None:
        if self.ssl_context is None:
            self.ssl_context = tls_context(self.cert_reqs, is_strict=self.is_strict)
        self._address = None
        try:
            super().connect()
        except (OSError, HTTPException, urllib3.exceptions.HTTPError):
            # With an address it is the handshake, not the connection.
            self._record_failure()
            raise


def tls_context(cert_reqs: int | str | None, *, is_strict: bool) -> ssl.SSLContext:
    """Return a context for one connection.

    Python 3.13 made the strict checks of X.509 its default. They refuse private authorities that curl, Go and earlier
    Pythons accept, so they are off unless the operator wants them.
    """
    context = create_urllib3_context(cert_reqs=resolve_cert_reqs(cert_reqs))
    if is_strict:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    else:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


class Adapter(requests.adapters.HTTPAdapter):
    """requests' way to the pools of one upstream. ``idle_seconds``: for how long an idle connection may be reused."""

    def __init__(self, size: int, idle_seconds: float, *, is_strict: bool) -> None:
        made = {"idle_seconds": idle_seconds, "is_strict": is_strict, "sweeper": IdleSweeper(self._open_pools)}
        plain = type("Connection", (_Connection,), made)
        secure = type("TlsConnection", (_TlsConnection,), made)
        self._pools: dict[str, Any] = {
            "http": type("Pool", (urllib3.HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("TlsPool", (urllib3.HTTPSConnectionPool,), {"ConnectionCls": secure}),
        }
        super().__init__(pool_connections=16, pool_maxsize=size, max_retries=0)

    def _open_pools(self) -> Iterator[urllib3.HTTPConnectionPool]:
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 — iterating it is what it refuses
                if pool := manager.pools.get(key):
                    yield pool

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def build_connection_pool_key_attributes(self, *arguments: Any, **options: Any) -> Any:
        place, tls = super().build_connection_pool_key_attributes(*arguments, **options)
        if attempt := _current.get():
            # The host that was judged is the one that is connected to, however requests may read the URL.
            place = {"scheme": attempt.url.scheme, "host": attempt.url.host, "port": attempt.url.port}
        return place, tls

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager
