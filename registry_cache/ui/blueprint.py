"""``/ui/``: its pages, to whom they are shown, and what a browser may do with them.

By ``http.debug.addr`` alone. On the loopback address without a login; on any other with one. Everything is read by GET.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from flask import Blueprint, Request, Response, request

from registry_cache.errors import Denied, NameUnknown
from registry_cache.runtime.connection import connection_of
from registry_cache.stats.calendar import MONTH_DAYS
from registry_cache.ui import documents
from registry_cache.ui.facts import Facts
from registry_cache.ui.hosts import is_ours
from registry_cache.ui.pages import Pages
from registry_cache.ui.rendering import ASSETS, asset

# Of the blueprint, by which the hooks know it.
NAME = "ui"
# Our own style, script and icon, the refresh, and the search; nothing else, and nothing from elsewhere.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
# Of what somebody types, or a link names.
MOST_LETTERS = 400


@dataclass(frozen=True, slots=True)
class Door:
    """Who may look. ``names``: of this server, beside addresses and localhost.

    ``admit`` asks for a login: it takes Authorization and the client's address, and raises Unauthorized or
    TooManyRequests. None: nobody is asked.
    """

    names: Collection[str]
    admit: Callable[[str | None, str | None], object] | None

    def check(self, asked: Request) -> None:
        """Raise RegistryError unless the page may be shown to whoever asks."""
        if not connection_of(asked.environ).by_debug_address:
            raise NameUnknown("no such URL: this is a registry's pull API, under /v2/")
        if not is_ours(asked.host, self.names):
            raise Denied(
                f"{asked.host[:100]} is not a name of this server: use its address, or add the name to http.debug.hosts"
            )
        if self.admit is not None:
            self.admit(asked.headers.get("Authorization"), asked.remote_addr)


def blueprint(facts: Facts, door: Door) -> Blueprint:
    """Return the routes of the pages."""
    routes = Blueprint(NAME, __name__)
    pages = Pages(facts)

    @routes.before_request
    def check() -> None:
        door.check(request)

    @routes.get("/ui/")
    def overview() -> Response:
        days = MONTH_DAYS if request.args.get("days") == str(MONTH_DAYS) else 1
        return _page(pages.overview(days))

    @routes.get("/ui/images")
    def images() -> Response:
        query = request.args.get("q", "").strip()[:MOST_LETTERS]
        return _page(pages.images(query, request.args.get("by", "")))

    @routes.get("/ui/images/<path:name>")
    def image(name: str) -> Response:
        found = pages.image(name)
        return _page(pages.absent_image(name[:MOST_LETTERS]), 404) if found is None else _page(found)

    @routes.get("/ui/clients")
    def clients() -> Response:
        return _page(pages.clients())

    @routes.get("/ui/clients/<path:name>")
    def client(name: str) -> Response:
        return _page(pages.client(name[:MOST_LETTERS]))

    @routes.get("/ui/docs/<name>")
    def document(name: str) -> Response:
        text = documents.read(name)
        return _page(pages.missing(f"/ui/docs/{name}"), 404) if text is None else _page(text, media_type="text/plain")

    @routes.get("/ui/<path:name>")
    def other(name: str) -> Response:
        if name not in ASSETS:
            return _page(pages.missing(f"/ui/{name}"), 404)
        response = Response(asset(name), content_type=f"{ASSETS[name]}; charset=utf-8")
        response.headers["Cache-Control"] = "max-age=31536000, immutable"
        return response

    return routes


def _page(text: bytes, status: int = 200, *, media_type: str = "text/html") -> Response:
    response = Response(text, status, content_type=f"{media_type}; charset=utf-8")
    # What it tells is of this moment, and for whoever has logged in.
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
