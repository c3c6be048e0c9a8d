"""The access log: what is known of the request under way, and its line when it ends."""

from __future__ import annotations

import random
import re
import time
from contextvars import ContextVar
from typing import Any, cast

from flask import Request, request

from registry_cache.api.responses import NO_SCRIPTS
from registry_cache.oci.digest import Digest
from registry_cache.pull.routing import Fallback, Route, Upstreams
from registry_cache.runtime import event_queue, metrics, request_context
from registry_cache.runtime.connection import connection_of
from registry_cache.runtime.log import Log
from registry_cache.runtime.trusted_proxies import Proxies

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)

# What a request is about, by Flask's name for its route.
_KINDS = {
    "manifests.manifest": "manifest",
    "blobs.blob": "blob",
    "listings.tags": "tags",
    "listings.referrers": "referrers",
    "listings.catalog": "catalog",
    "listings.version": "ping",
}

_log = Log("registry_cache.access")

# Flask's ``g`` takes twenty times as long to look up.
_current: ContextVar[Exchange] = ContextVar("exchange")


class Exchange:
    """Filled in as a request travels; written once, when the last byte is sent or the client is gone."""

    # Monitoring asks every few seconds: its requests are not counted, and logged only at level debug.
    quiet = False
    # The Content-Security-Policy of the answer.
    content_policy = NO_SCRIPTS
    user: str | None = None
    # The node of the cluster that asks; None for a client.
    peer: str | None = None
    namespace: str | None = None
    fallback: Fallback = "honest"
    upstream: str | None = None
    repository: str | None = None
    reference: str | None = None
    outcome: str | None = None
    status = 0
    sent = 0
    error: str | None = None
    # The class of that error.
    failure = ""
    # Of a manifest that is answered.
    digest: Digest | None = None
    # The body itself will call ``finish``: its bytes go out after Flask is done.
    streams = False

    def __init__(self, request: Request, proxies: Proxies) -> None:
        self.request = request
        self.began = time.monotonic()
        # When the first byte could be sent.
        self.ready = self.began
        self.waited = request_context.begin_stopwatch()
        self.kind = _KINDS.get(request.endpoint or "", "other")
        given = request.headers.get("X-Request-Id", "")
        # A proxy's id is kept, so that its log and ours can be joined; anything else is not repeated.
        self.request_id = given if given and _REQUEST_ID.fullmatch(given) else _new_id()
        self.method = request.method
        self.path = request.path
        self.client = proxies.client(request.remote_addr or "", request.headers.get("X-Forwarded-For"))
        self.agent = request.headers.get("User-Agent")
        self.connection = connection_of(request.environ)
        request_context.note_client(self.connection.has_left)

    def finish(self) -> None:
        """Count the request and write its log line."""
        seconds, first_byte = time.monotonic() - self.began, self.ready - self.began
        if self.peer is not None:
            # Not a client: what is sent to one is counted where it asks.
            metrics.count_peer_bytes("sent", self.sent)
        elif not self.quiet:
            metrics.count_answer(self.kind, self.outcome, self.status, self.sent, first_byte, seconds)
            self._tally()
        say = _log.debug if self.quiet else _log.info
        say(
            "request",
            id=self.request_id,
            client=self.client,
            user=self.user,
            peer=self.peer,
            method=self.method,
            path=None if self.repository else self.path[:512],
            upstream=self.upstream,
            repository=self.repository,
            reference=self.reference,
            status=self.status,
            outcome=self.outcome,
            bytes=self.sent,
            seconds=seconds,
            first_byte_seconds=first_byte,
            upstream_seconds=self.waited.seconds or None,
            # Asked last: the server may have ended the connection while the body was sent.
            error=self.error or self.connection.end_reason(),
            agent=self.agent[:200] if self.agent else None,
        )

    def _tally(self) -> None:
        who = (time.time(), self.client or "", self.user or "", self.method, self.kind)
        what = (self.upstream or "", self.repository or "", self.reference or "", self.digest or "")
        event_queue.add(event_queue.Answer(*who, *what, self.outcome or "", self.status, self.sent, self.failure))


def _new_id() -> str:
    # It only tells requests apart, so it is not worth a system call.
    return f"{random.getrandbits(64):016x}"


def begin(proxies: Proxies) -> Exchange:
    """Return a new exchange, which is now that of the request under way."""
    # Not Flask's proxy of it: each of its attributes costs a call.
    asked: Request = cast("Any", request)._get_current_object()
    exchange = Exchange(asked, proxies)
    _current.set(exchange)
    return exchange


def current() -> Exchange:
    """Return the exchange of the request under way."""
    return _current.get()


def route(upstreams: Upstreams, name: str, reference: str | None = None) -> Route:
    """Return what the request under way is about, and note it. Raises NameInvalid, NameUnknown."""
    exchange = current()
    exchange.repository, exchange.reference = name[:512], reference
    asked = exchange.request
    found = upstreams.route(name, asked.args if asked.query_string else {})
    exchange.upstream, exchange.repository = found.target.upstream.name, found.target.name.repository
    exchange.namespace, exchange.fallback = found.namespace, found.fallback
    return found
