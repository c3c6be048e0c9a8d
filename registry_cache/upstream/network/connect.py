"""Connect to the first of a host's addresses that answers: several are tried at once (happy eyeballs, RFC 8305).

One dead address, such as broken IPv6, then costs a quarter of a second and not a whole time-out.
"""

from __future__ import annotations

import errno
import itertools
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from typing import Any

from cachetools import LRUCache, TTLCache

from registry_cache.upstream.network.zones import EVERYWHERE, Reach, zone_of

# After so long without an answer the next address is tried as well (RFC 8305 §5).
ATTEMPT_DELAY_SECONDS = 0.25

# How socket.getaddrinfo describes an address: family, kind, protocol, canonical name, and what connect() takes.
Address = tuple[Any, ...]
SocketOption = tuple[Any, ...]

# An address that accepts connections and serves none is the last to be tried for so long.
FAILED_SECONDS = 60.0

# By host and port, the address that accepted the last connection, and those that were of no use afterwards.
_last_good: LRUCache[tuple[str, int], Any] = LRUCache(256)
_failed: TTLCache[tuple[str, int, Any], bool] = TTLCache(256, FAILED_SECONDS)
# Hosts that had several addresses when they were looked up last.
_several: LRUCache[tuple[str, int], bool] = LRUCache(256)
_mutex = threading.Lock()


class OutOfReach(OSError):
    """A host is on this machine or a private network, where whoever named it may not send us."""


def connect(
    host: str, port: int, timeout: float | None, options: Sequence[SocketOption] = (), *, reach: Reach = EVERYWHERE
) -> socket.socket:
    """Return a connection to ``host``, each of whose addresses has ``timeout`` seconds. Close it.

    Only addresses within ``reach`` are connected to, whatever name servers said a moment ago. Raises OSError and its
    kinds: socket.gaierror without an address, TimeoutError where none answers, the last refusal, OutOfReach.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [each for each in found if zone_of(str(each[4][0])) in reach]
    if found and not addresses:
        raise OutOfReach(errno.EACCES, f"{host} has a private address (see private_redirects)")
    with _mutex:
        last_good, _several[host, port] = _last_good.get((host, port)), len(addresses) > 1
        failed = [each[4] for each in addresses if (host, port, each[4]) in _failed]
    connected = connect_first(in_order(addresses, last_good, failed), timeout, options)
    with _mutex:
        _last_good[host, port] = connected.getpeername()
    return connected


def record_failure(host: str, port: int, address: Any) -> bool:
    """Note that what stands at ``address`` accepts connections and is of no use: a load balancer, or a middlebox.

    Return whether ``host`` has other addresses, which are tried first from now on.
    """
    with _mutex:
        if not _several.get((host, port)):
            return False
        _failed[host, port, address] = True
    return True


def in_order(addresses: Sequence[Address], last_good: object, failed: Collection[object] = ()) -> list[Address]:
    """Return the addresses as they are to be tried: the last good one, then IPv6 and IPv4 in turn (RFC 8305 §4).

    Those that have ``failed`` come last.
    """
    if not addresses:
        return []
    first = [each for each in addresses if each[0] == addresses[0][0]]
    others = [each for each in addresses if each[0] != addresses[0][0]]
    in_turn = [each for pair in itertools.zip_longest(first, others) for each in pair if each is not None]
    return sorted(in_turn, key=lambda each: (each[4] in failed, each[4] != last_good))


def connect_first(
    addresses: Sequence[Address], timeout: float | None, options: Sequence[SocketOption] = ()
) -> socket.socket:
    """Return a connection to the first of ``addresses`` that accepts one. Raises TimeoutError, the last refusal."""
    waiting = deque(addresses)
    last_error = OSError(errno.EADDRNOTAVAIL, "it has no address")
    next_at = ends_at = time.monotonic()
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or selector.get_map():
                now = time.monotonic()
                if waiting and (now >= next_at or not selector.get_map()):
                    next_at = now + ATTEMPT_DELAY_SECONDS
                    ends_at = float("inf") if timeout is None else now + timeout
                    try:
                        _begin(selector, waiting.popleft(), options)
                    except OSError as error:
                        last_error, next_at = error, now
                    continue
                if now >= ends_at:
                    raise TimeoutError(errno.ETIMEDOUT, "no address answers")
                until = next_at if waiting else ends_at
                for key, _ in selector.select(None if until == float("inf") else max(0.0, until - now)):
                    found: socket.socket = key.data
                    selector.unregister(found)
                    code = found.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if code == 0:
                        found.settimeout(timeout)
                        return found
                    found.close()
                    last_error, next_at = OSError(code, os.strerror(code)), now
            raise last_error
        finally:
            for key in list(selector.get_map().values()):
                key.data.close()


def _begin(selector: selectors.BaseSelector, address: Address, options: Sequence[SocketOption]) -> None:
    """Begin to connect; ``selector`` tells when that has come to an end."""
    family, kind, protocol, _, target = address
    new = socket.socket(family, kind, protocol)
    try:
        for option in options:
            new.setsockopt(*option)
        new.setblocking(False)
        code = new.connect_ex(target)
        if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            raise OSError(code, os.strerror(code))
        selector.register(new, selectors.EVENT_WRITE, new)
    except BaseException:
        new.close()
        raise
