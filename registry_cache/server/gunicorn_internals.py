"""What gunicorn works out anew for each request, though it is the same for thousands of them (docs/adr/0014)."""

from __future__ import annotations

import io
import time
from functools import lru_cache
from typing import Any

from cachetools import LRUCache, cached
from gunicorn import util
from gunicorn.http import message, wsgi

# Addresses of clients or proxies of which it is known whether they are believed.
_PEERS = 1024

# What a worker of ours sets anew when it stops.
_MOVES = "graceful_timeout"

_http_date = util.http_date
_ErrorStream = wsgi.WSGIErrorsWrapper


def install(settings: Any) -> None:
    """Let this process remember it. ``settings`` are gunicorn's own; none but how long a stop takes may change now."""
    util.http_date = http_date
    message._ip_in_allow_list = cached(LRUCache(_PEERS), _peer)(message._ip_in_allow_list)
    wsgi.WSGIErrorsWrapper = lru_cache(maxsize=1)(_Errors)
    # Each is a call to a call where it is asked for, thirty times a request.
    vars(settings).update({name: each.get() for name, each in settings.settings.items() if name != _MOVES})


def http_date(timestamp: float | None = None) -> str:
    """Return a moment, or now, for ``Date``."""
    return _date_of(int(time.time() if timestamp is None else timestamp))


@lru_cache(maxsize=4)
def _date_of(second: int) -> str:
    date: str = _http_date(second)
    return date


def _peer(address: str, allowed: list[str], _networks: object) -> tuple[str, ...]:
    """What the answer depends on: the networks are the allowed addresses, parsed."""
    return (address, *allowed)


class _Errors(io.RawIOBase):
    """``wsgi.errors``: looks where they go when there is one, since a log that is opened anew is another stream."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings

    def write(self, data: Any) -> None:
        """Write text. Raises OSError."""
        _ErrorStream(self._settings).write(data)
