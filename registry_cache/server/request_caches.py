"""Work out once what gunicorn does anew for each request, though it is the same for thousands of them.

Together that is 7 to 10 % of a hit (docs/adr/0014). Knows no names of gunicorn's: ``gunicorn_internals`` hands in its
functions, and puts what is returned in their place.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from cachetools import LRUCache, cached

# Addresses of clients or proxies of which it is known whether they are believed.
_PEERS = 1024


def once_a_second(http_date: Callable[[float], str]) -> Callable[..., str]:
    """Return what writes a moment, or now, for ``Date``."""
    date_of = lru_cache(maxsize=4)(http_date)

    def cached_date(timestamp: float | None = None) -> str:
        return date_of(int(time.time() if timestamp is None else timestamp))

    return cached_date


def once_a_peer(is_allowed: Callable[..., bool]) -> Callable[..., bool]:
    """Return what tells whether an address is among those allowed."""

    def key(address: str, allowed: list[str], _networks: object) -> tuple[str, ...]:
        # The networks are the allowed addresses, parsed.
        return (address, *allowed)

    return cached(LRUCache[tuple[str, ...], bool](_PEERS), key)(is_allowed)


def one_stream(make: Callable[[Any], Any]) -> Callable[[Any], io.RawIOBase]:
    """Return what makes ``wsgi.errors``: one for all requests."""

    class ErrorStream(io.RawIOBase):
        """Finds at each write where errors go, since a log that is opened anew is another stream."""

        def __init__(self, settings: Any) -> None:
            self._settings = settings

        def write(self, data: Any) -> None:
            """Write text. Raises OSError."""
            make(self._settings).write(data)

    return lru_cache(maxsize=1)(ErrorStream)
