"""Shake hands by TLS, and tell a client that speaks plain HTTP to this port that it is wrong.

A failed handshake is a client's problem: a line in the log now and then, and no traceback.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import gevent
from cachetools import TTLCache
from gevent import socket

from registry_cache.runtime.log import Log
from registry_cache.server.bad_request import linger, refuse_plainly
from registry_cache.server.gunicorn_internals import begin_tls
from registry_cache.server.half_sent import heads

# How long a whole handshake may take: a client does its part in one round trip or two, and one that sends nothing, or a
# byte a second, holds a connection that long.
HANDSHAKE_TIMEOUT_SECONDS = 10.0
# A client that cannot get in tries again and again; one line in this time for each reason, of each address.
_REPEAT_SECONDS = 300.0
# Addresses and reasons; a flood of more is told more often.
_MOST_REASONS = 1000

# The first byte of a hello (RFC 8446 §5.1).
TLS_HELLO = b"\x16"
PLAIN_ONLY = "this port speaks plain HTTP; the client sent TLS"
TLS_ONLY = "this port speaks TLS; the client sent plain HTTP: write https://"

# What OpenSSL says, and what it means here.
_REASONS = {
    "peer did not return a certificate": "the client shows no certificate",
    "certificate verify failed": "the client's certificate is not from http.tls.clientcas, or has run out",
    "tlsv1 alert unknown ca": "the client does not trust our certificate's authority",
    "sslv3 alert bad certificate": "the client does not take our certificate",
    "sslv3 alert certificate expired": "the client says that our certificate has run out",
    "unsupported protocol": "the client speaks no version of TLS that is allowed here",
}

_log = Log(__name__)


class Handshakes:
    """``wrap`` makes a connection of ``socket_class`` by the context that ``context`` returns at that moment."""

    def __init__(self, socket_class: type[Any], context: Callable[[], ssl.SSLContext]) -> None:
        self._socket_class, self._context = socket_class, context
        self._logged: TTLCache[tuple[str, str], bool] = TTLCache(_MOST_REASONS, _REPEAT_SECONDS)

    def wrap(self, client: Any) -> Any | None:
        """Return the client's connection by TLS, for the caller to close; None if there is none.

        ``client`` is a plain connection of ours, and is ended.
        """
        try:
            with gevent.Timeout(HANDSHAKE_TIMEOUT_SECONDS, TimeoutError("not done in time")):
                return self._shake(client) if _speaks_tls(client) else None
        except OSError as error:
            self._log_failure(client.client_address, error)
            return None
        finally:
            # Without effect on a connection that took the descriptor over.
            client.close()

    def _shake(self, client: Any) -> Any:
        secure = begin_tls(self._socket_class, client, self._context())
        with ExitStack() as failed:
            # Also when the time is up, or the worker stops.
            failed.callback(secure.close)
            secure.client_address = client.client_address
            try:
                with heads.waiting(secure):
                    secure.do_handshake()
            except ssl.SSLError:
                # The alert is out; a client of TLS 1.3 has sent its request behind its part of the handshake.
                with suppress(OSError):
                    linger(secure)
                raise
            failed.pop_all()
        return secure

    def _log_failure(self, client: str, error: OSError) -> None:
        said = (getattr(error, "reason", None) or error.strerror or str(error)).replace("_", " ").lower()
        reason = _REASONS.get(said, said)
        # A client that connects and leaves, as probes of a port do every second, did not fail.
        refused = isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError)
        tell = _log.info if refused and (client, reason) not in self._logged else _log.debug
        if refused:
            self._logged[client, reason] = True
        tell("a TLS handshake failed", client=client, reason=reason)


def _speaks_tls(client: Any) -> bool:
    """Look at the first byte; answer plain HTTP, whose clients would take an alert for garbage. Raises OSError."""
    with heads.waiting(client):
        first = client.recv(1, socket.MSG_PEEK)
    if first.isalpha():
        refuse_plainly(client, TLS_ONLY)
    return bool(first == TLS_HELLO)
