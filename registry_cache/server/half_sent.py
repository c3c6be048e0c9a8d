"""How many connections of one client's address may wait for a head at once, and the end of the oldest of more."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Protocol

import gevent

from registry_cache.runtime.log import Log
from registry_cache.runtime.networks import network
from registry_cache.server.periodic import PeriodicLook

# Connections of one address, in a worker, that may send no head, or half of one, for longer than PATIENT_SECONDS. All
# that a worker has are 3,000: without a bound one machine keeps everybody else waiting, for 90 bytes each half minute.
MAX_PER_ADDRESS = 128
# A crowd behind one address connects before it asks, and its lines may be slow: for so long it may be any number.
PATIENT_SECONDS = 5.0
LOOK_SECONDS = 1.0

_log = Log(__name__)


class Waiting(Protocol):
    """A client's connection; its address is "" for a unix socket, and is not counted then."""

    @property
    def client_address(self) -> str: ...

    def end_half_sent(self) -> None: ...


class HalfSent:
    """Knows the connections of which a head, or the rest of one, is waited for."""

    def __init__(
        self, pause: Callable[[float], None] = gevent.sleep, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        # Since when, in that order.
        self._waiting: dict[Waiting, float] = {}
        self._looks = PeriodicLook(self._waiting, lambda: pause(LOOK_SECONDS), self._look)

    @contextmanager
    def waiting(self, connection: Waiting) -> Iterator[None]:
        """Count ``connection`` while the block lasts."""
        self._waiting[connection] = self._clock()
        self._looks.begin()
        try:
            yield
        finally:
            del self._waiting[connection]

    def _look(self) -> None:
        left = Counter(_network(each.client_address) for each in self._waiting)
        ended, latest = Counter[str](), self._clock() - PATIENT_SECONDS
        for connection, began in tuple(self._waiting.items()):
            name = _network(connection.client_address)
            if began <= latest and name and left[name] > MAX_PER_ADDRESS:
                left[name] -= 1
                ended[name] += 1
                connection.end_half_sent()
        for name, count in ended.items():
            _log.warning("let connections go that send no request", address=name, connections=count)


_network = lru_cache(4096)(network)

# All connections of this process.
heads = HalfSent()
