"""Responses and their headers (OCI distribution-spec "Pull"; protocol facts P37-P45)."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from flask import Request, Response
from werkzeug.datastructures import Headers

from registry_cache.errors import RegistryError, StoreError
from registry_cache.oci.digest import Digest
from registry_cache.pull.outcome import Outcome

# The bytes of a digest never change: a client that has them need not ask again for a year, the customary maximum.
IMMUTABLE = "max-age=31536000, immutable"
# A tag may move: a client that keeps an answer must ask before it uses it.
REVALIDATE = "no-cache"

# Nothing here is a page of ours: a browser that shows an answer all the same runs nothing in it and loads nothing.
NO_SCRIPTS = "default-src 'none'; sandbox"
# What others wrote is for a browser to save and not to show.
DOWNLOAD = "attachment"

# The spec bounds the text of a warning (P44).
_MAX_WARNING = 1024


def error_response(error: RegistryError) -> Response:
    """Return an error as the spec's JSON; ``Retry-After`` in whole seconds where waiting helps."""
    entry: dict[str, object] = {"code": error.code, "message": error.message}
    # A store's detail is a path on this machine: it is for the log.
    if error.detail is not None and not isinstance(error, StoreError):
        entry["detail"] = error.detail
    response = Response(json.dumps({"errors": [entry]}, default=str), error.status, mimetype="application/json")
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return response


def json_response(document: object, media_type: str = "application/json") -> Response:
    """Return ``document`` as JSON."""
    response = Response(json.dumps(document))
    response.headers["Content-Type"] = media_type
    return response


class ContentResponse(Response):
    """A response whose headers are complete: Werkzeug need not copy and correct them."""

    def get_wsgi_headers(self, environ: dict[str, Any]) -> Headers:
        """Called when the headers are about to be sent."""
        # Werkzeug removes from a 304 the headers that it must not have.
        return super().get_wsgi_headers(environ) if self.status_code == 304 else self.headers


def immutable_headers(digest: Digest, outcome: Outcome, *, by_tag: bool = False) -> Headers:
    """Return the headers that say what the content is and where it came from."""
    name = str(digest)
    return Headers(
        [
            ("Docker-Content-Digest", name),
            ("ETag", f'"{name}"'),
            ("Cache-Control", REVALIDATE if by_tag else IMMUTABLE),
            ("X-Cache", outcome),
            ("Content-Disposition", DOWNLOAD),
        ]
    )


def stale_headers(response: Response, checked_at: datetime | None, reason: str) -> None:
    """Say that upstream did not confirm this: since when, and why. containerd shows the warning to its user."""
    if checked_at is not None:
        response.headers["Age"] = str(max(0, int((datetime.now(UTC) - checked_at).total_seconds())))
    text = "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in reason[:_MAX_WARNING])
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    response.headers["Warning"] = f'299 - "{quoted}"'


def not_modified(request: Request, digest: Digest) -> bool:
    """Return whether the client has these bytes already: If-None-Match with our tag, quoted, weak or bare (P38)."""
    header = request.headers.get("If-None-Match")
    if header is None:
        return False
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")]
    return str(digest) in tags or header.strip() == "*"


def range_header(request: Request, digest: Digest) -> str | None:
    """Return the Range to obey: none where If-Range names other bytes (RFC 9110 §13.1.5)."""
    condition = request.headers.get("If-Range")
    if condition is not None and condition.strip() != f'"{digest}"':
        return None
    return request.headers.get("Range")
