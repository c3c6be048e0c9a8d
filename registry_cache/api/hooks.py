"""What holds for every request: methods, odd paths, errors as JSON, the headers of all answers, the log line.

Registered on the application and not on a blueprint: a URL that no route matches never reaches a blueprint's handlers.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence

from flask import Flask, Request, Response, request
from werkzeug.exceptions import HTTPException

from registry_cache.api import access_log
from registry_cache.api.access_log import current
from registry_cache.api.cors import has_cors
from registry_cache.api.health import NO_SUCH_URL, by_debug
from registry_cache.api.responses import error_response
from registry_cache.errors import (
    BlobUnknown,
    LoopFound,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    RangeNotSatisfiable,
    RegistryError,
    RequestInvalid,
    TooManyRequests,
    Unauthorized,
    Unsupported,
    UpstreamUnavailable,
)
from registry_cache.runtime import metrics, request_context
from registry_cache.runtime.log import Log
from registry_cache.runtime.trusted_proxies import Proxies

API_VERSION = "registry/2.0"

_ALLOWED = ("GET", "HEAD")

# The error of a 404, by blueprint.
_MISSING = {"manifests": ManifestUnknown, "blobs": BlobUnknown}

# How a client may write a URL of ours in a request line (RFC 9112 §3.2.2); the server reads the path from behind it.
_AUTHORITY = re.compile(r"https?://[^/\\%]+", re.IGNORECASE)

# A separator that is doubled or escaped, or an escape that another parser may undo once more.
_AMBIGUOUS = re.compile(r"//|\\|%(?:2f|5c|00|25|2e)", re.IGNORECASE)

_log = Log(__name__)


def register(app: Flask, headers: Mapping[str, Sequence[str]], proxies: Proxies) -> None:
    """Make ``app`` answer so. ``headers`` are the operator's own, for every answer; ``proxies`` are believed."""

    cors = has_cors(headers)

    @app.before_request
    def begin() -> Response | None:
        asked = access_log.begin(proxies).request
        preflight = cors and _is_preflight(asked)
        if asked.method not in _ALLOWED and not preflight:
            # Before the body is read: a layer of gigabytes is not received to be thrown away (P49).
            raise Unsupported(f"{asked.method} is not for a cache: push to the registry itself, and pull here")
        if not request_context.note_via(asked.environ.get("HTTP_VIA", "")):
            raise LoopFound("a registry has redirected this cache to itself, if need be by way of others")
        _check_path(asked.environ.get("RAW_URI", ""))
        if not asked.query_string.isascii():
            raise RequestInvalid("a query holds bytes that no URL has: escape them")
        # Before the login: a browser sends none with this question, and takes a 401 for a no.
        return _preflight_response() if preflight else None

    @app.after_request
    def finish(response: Response) -> Response:
        about = current()
        # Nobody has set these before, so they are added without a search.
        add = response.headers.add
        add("Docker-Distribution-Api-Version", API_VERSION)
        add("X-Content-Type-Options", "nosniff")
        add("Content-Security-Policy", about.content_policy)
        add("X-Request-Id", about.request_id)
        if about.namespace is not None:
            add("OCI-Namespace", about.namespace)
        for name, values in headers.items():
            response.headers.setlist(name, values)
        about.status = response.status_code
        about.ready = time.monotonic()
        if not about.streams:
            about.sent = response.content_length or 0 if about.method == "GET" else 0
            about.finish()
        return response

    app.register_error_handler(RegistryError, _registry_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _defect)


def _is_preflight(asked: Request) -> bool:
    return asked.method == "OPTIONS" and f"{asked.path}/".startswith("/v2/") and not by_debug(asked)


def _preflight_response() -> Response:
    """Answer OPTIONS as CNCF Distribution does; the operator's headers are added to it as to every answer."""
    response = Response(headers={"Allow": ", ".join((*_ALLOWED, "OPTIONS"))})
    del response.headers["Content-Type"]
    return response


def _check_path(raw: str) -> None:
    """Refuse what two parsers could read in two ways; nginx in front of us is the other (P50). Raises NameInvalid."""
    path = raw.partition("?")[0]
    authority = _AUTHORITY.match(path)
    if _AMBIGUOUS.search(path, authority.end() if authority else 0):
        raise NameInvalid("a path holds an escaped or doubled separator; names need neither")


def _registry_error(error: RegistryError) -> Response:
    metrics.count_error(error)
    current().failure = type(error).__name__
    if isinstance(error, TooManyRequests):
        error = _limited(error)
    response = error_response(error)
    if isinstance(error, Unsupported):
        response.headers["Allow"] = ", ".join(_ALLOWED)
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = error.challenge
    if isinstance(error, RangeNotSatisfiable):
        response.headers["Content-Range"] = f"bytes */{error.size}"
    current().error = error.message
    return response


def _limited(error: TooManyRequests) -> RegistryError:
    """Return the error that the operator wants for upstream's limit: at some, clients turn to the registry at once."""
    fallback = current().fallback
    if fallback == "notfound":
        return _MISSING.get(request.blueprint or "", NameUnknown)(error.message)
    kind = UpstreamUnavailable if fallback == "unavailable" else TooManyRequests
    return kind(error.message, detail=error.detail, retry_after=error.retry_after)


def _http_error(error: HTTPException) -> Response:
    """Answer an error that Flask found, almost always a URL that the API does not have."""
    status = error.code or 500
    if status == 404:
        return _registry_error(NameUnknown(NO_SUCH_URL))
    kind = Unsupported if status < 500 else RegistryError
    response = _registry_error(kind(error.description or error.name))
    response.status_code = status
    return response


def _defect(error: Exception) -> Response:
    """Answer a defect of ours; the cause is for the log and not for the client."""
    _log.exception("defect", id=current().request_id)
    return _registry_error(RegistryError("this cache failed to answer; its log says why"))
