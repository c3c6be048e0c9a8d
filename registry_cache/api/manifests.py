"""``/v2/<name>/manifests/<reference>``"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from flask import Blueprint, Request, Response
from werkzeug.datastructures import Headers

from registry_cache.api import access_log, responses
from registry_cache.api.blobs import StreamBody
from registry_cache.api.responses import ContentResponse
from registry_cache.errors import NotHeld
from registry_cache.oci.names import Tag, parse_reference
from registry_cache.pull.manifest import ManifestAnswer, ManifestPull
from registry_cache.pull.manifest_body import ManifestFile
from registry_cache.pull.routing import Upstreams


def blueprint(upstreams: Upstreams, manifests: ManifestPull) -> Blueprint:
    """Return the routes of manifests."""
    routes = Blueprint("manifests", __name__)

    @routes.get("/v2/<path:name>/manifests/<reference>")
    def manifest(name: str, reference: str) -> Response:
        asked = access_log.current().request
        target = access_log.route(upstreams, name, reference).target
        wanted = parse_reference(reference)
        if access_log.current().peer is not None:
            if isinstance(wanted, Tag):
                raise NotHeld("other nodes ask here by digest")
            return _response(asked, manifests.get_held(target, wanted), by_tag=False)
        answer = manifests.get(target, wanted, head=asked.method == "HEAD")
        return _response(asked, answer, by_tag=isinstance(wanted, Tag))

    return routes


def _whole(body: bytes | ManifestFile | None, headers: Headers) -> ContentResponse:
    if not isinstance(body, ManifestFile):
        return ContentResponse(None if body is None else [body], headers=headers)
    exchange = access_log.current()
    exchange.streams = True
    parts = body.parts(from_file=exchange.connection.sends_parts)
    # WSGI knows no PartBody; our worker does.
    stream = cast("Iterator[bytes]", StreamBody(b"", parts, body, exchange))
    return ContentResponse(stream, headers=headers, direct_passthrough=True)


def _response(request: Request, answer: ManifestAnswer, *, by_tag: bool) -> Response:
    headers = responses.immutable_headers(answer.digest, answer.outcome, by_tag=by_tag)
    if responses.not_modified(request, answer.digest):
        response = ContentResponse(status=304, headers=headers)
    else:
        # The bare media type: a parameter such as a charset makes some clients refuse it.
        headers.add("Content-Type", answer.media_type)
        headers.add("Content-Length", answer.size)
        response = _whole(answer.body if request.method == "GET" else None, headers)
    if answer.reason is not None:
        responses.stale_headers(response, answer.checked_at, answer.reason)
    exchange = access_log.current()
    exchange.outcome, exchange.digest = answer.outcome, answer.digest
    return response
