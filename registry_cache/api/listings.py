"""``/v2/``, ``tags/list``, ``referrers`` and ``_catalog``"""

from __future__ import annotations

from urllib.parse import quote, urlencode

from flask import Blueprint, Response, request

from registry_cache.api import access_log, responses
from registry_cache.api.held_bodies import HeldBodies
from registry_cache.errors import RequestInvalid
from registry_cache.oci import media_types
from registry_cache.oci.digest import Digest
from registry_cache.pull.listing import ListAnswer, Listing, ReferrersAnswer
from registry_cache.pull.routing import Upstreams

# More names than a page can carry; a larger number is asked for as this one.
_MAX_COUNT = 10_000


def blueprint(upstreams: Upstreams, listing: Listing) -> Blueprint:
    """Return the routes of lists."""
    routes = Blueprint("listings", __name__)
    bodies = HeldBodies()

    @routes.get("/v2/")
    @routes.get("/v2")
    def version() -> Response:
        # Never a 401: dockerd would answer a mirror's challenge with the user's Docker Hub password (P4).
        return responses.json_response({})

    @routes.get("/v2/_catalog")
    def catalog() -> Response:
        namespace = request.args.get("ns") or None
        upstream = (upstreams.named(namespace) if namespace else upstreams.default).upstream.name
        access_log.current().upstream, access_log.current().namespace = upstream, namespace
        answer = listing.catalog(upstream, _count(), request.args.get("last"))
        return bodies.hold(_page("repositories", answer, {}, namespace), access_log.current().client)

    @routes.get("/v2/<path:name>/tags/list")
    def tags(name: str) -> Response:
        route = access_log.route(upstreams, name)

        def page() -> Response:
            answer = listing.tags(route.target, _count(), request.args.get("last"))
            return _page("tags", answer, {"name": route.named}, route.namespace)

        # The names themselves, which take some times as much as their letters, are given up before there is a wait.
        return bodies.hold(page(), access_log.current().client)

    @routes.get("/v2/<path:name>/referrers/<digest>")
    def referrers(name: str, digest: str) -> Response:
        target = access_log.route(upstreams, name, digest).target
        response = _index(listing.referrers(target, Digest.parse(digest)), request.args.get("artifactType"))
        return bodies.hold(response, access_log.current().client)

    return routes


def _index(answer: ReferrersAnswer, wanted: str | None) -> Response:
    """Return as an index what refers to a digest; of the ``wanted`` type alone, unless that is None."""
    found = [each for each in answer.manifests if wanted is None or each.get("artifactType") == wanted]
    index = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": found}
    response = responses.json_response(index, media_types.OCI_INDEX)
    response.headers["Content-Disposition"] = responses.DOWNLOAD
    if wanted is not None:
        response.headers["OCI-Filters-Applied"] = "artifactType"
    if answer.reason is not None:
        responses.stale_headers(response, None, answer.reason)
    response.headers["X-Cache"] = access_log.current().outcome = answer.outcome
    return response


def _page(key: str, answer: ListAnswer, more: dict[str, object], namespace: str | None) -> Response:
    response = responses.json_response({**more, key: answer.names})
    if answer.last is not None:
        response.headers["Link"] = f'<{_next(answer, namespace)}>; rel="next"'
    if answer.reason is not None:
        responses.stale_headers(response, None, answer.reason)
    response.headers["X-Cache"] = access_log.current().outcome = answer.outcome
    return response


def _next(answer: ListAnswer, namespace: str | None) -> str:
    """Return where the next page is: here, in the form that the client used (P47)."""
    query = {"n": request.args.get("n") or str(len(answer.names)), "last": answer.last or ""}
    if namespace:
        query["ns"] = namespace
    return f"{quote(request.path)}?{urlencode(query)}"


def _count() -> int | None:
    """Return the ``n`` of a query; RequestInvalid where it is no number."""
    text = request.args.get("n")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise RequestInvalid(f"n must be a number of entries, 0 or more; it is {text[:80]!r}")
    return min(int(text), _MAX_COUNT)
