"""What the server tells the application about a request's connection, in the WSGI environ.

A server other than ours tells nothing: then every answer is the cautious one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

ENVIRON_KEY = "registry_cache.connection"


class Connection(NamedTuple):
    """``by_debug_address``: the client came by ``http.debug.addr``, which no header can claim; ``by_peer_address``: by
    ``cluster.addr``.

    ``sends_parts``: a body may yield parts of files as well as bytes (``api.blobs.PartBody``); the server sends them
    from the descriptor. ``end_reason`` returns why the server itself ended the connection, None where it did not.
    ``has_left`` returns whether the client has closed its side.
    """

    by_debug_address: bool = False
    sends_parts: bool = False
    end_reason: Callable[[], str | None] = lambda: None
    by_peer_address: bool = False
    has_left: Callable[[], bool] = lambda: False


_UNKNOWN = Connection()


def connection_of(environ: Mapping[str, Any]) -> Connection:
    """Return the connection by which the request of this environ came."""
    return cast("Connection", environ.get(ENVIRON_KEY, _UNKNOWN))
