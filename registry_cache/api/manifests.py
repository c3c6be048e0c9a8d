"""``/v2/<name>/manifests/<reference>``"""

from __future__ import annotations

from flask import Blueprint, Response, request

from registry_cache.api import exchange, responses
from registry_cache.oci.names import Tag, parse_reference
from registry_cache.pull.manifest import ManifestAnswer, ManifestPull
from registry_cache.pull.target import Upstreams


def blueprint(upstreams: Upstreams, manifests: ManifestPull) -> Blueprint:
    """Return the routes of manifests."""
    routes = Blueprint("manifests", __name__)

    @routes.get("/v2/<path:name>/manifests/<reference>")
    def manifest(name: str, reference: str) -> Response:
        target = exchange.target(upstreams, name, reference)
        wanted = parse_reference(reference)
        pull = manifests.head if request.method == "HEAD" else manifests.get
        answer = pull(target.upstream, target.repository, wanted, target.tags)
        return _response(answer, by_tag=isinstance(wanted, Tag))

    return routes


def _response(answer: ManifestAnswer, *, by_tag: bool) -> Response:
    if responses.not_modified(request, answer.digest):
        response = Response(status=304)
    else:
        response = Response(answer.data if request.method == "GET" else None)
        response.content_length = answer.size
        # The bare media type: a parameter such as a charset makes some clients refuse it.
        response.headers["Content-Type"] = answer.media_type
    responses.immutable_headers(response, answer.digest, answer.outcome, by_tag=by_tag)
    if answer.reason is not None:
        responses.stale_headers(response, answer.checked_at, answer.reason)
    exchange.current().outcome = answer.outcome
    return response
