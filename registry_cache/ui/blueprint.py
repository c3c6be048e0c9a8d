"""``/ui/``: its pages, to whom they are shown, and what a browser may do with them.

By ``http.debug.addr`` alone. On the loopback address without a login; on any other with one. Everything is read by GET.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from flask import Blueprint, Request, Response, request

from registry_cache.deployment.client_setup import CLIENTS, steps
from registry_cache.errors import Denied, NameUnknown
from registry_cache.runtime.connection import connection_of
from registry_cache.ui.facts import Facts
from registry_cache.ui.hosts import is_ours
from registry_cache.ui.overview import Overview, Overviews
from registry_cache.ui.remembered import Remembered
from registry_cache.ui.rendering import ASSETS, Renderer, asset

# Of the blueprint, by which the hooks know it.
NAME = "ui"
# Our own style, script and icon, the refresh, and the search; nothing else, and nothing from elsewhere.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
# Under (path) and in words, as they stand at the top of each page.
PAGES = (("", "Overview"),)

# What is going on is read once for all who look within this time.
_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Door:
    """Who may look. ``names``: of this server, beside addresses and localhost.

    ``admit`` asks for a login: it takes Authorization and the client's address, and raises Unauthorized or
    TooManyRequests. None: nobody is asked.
    """

    names: Collection[str]
    admit: Callable[[str | None, str | None], object] | None

    def check(self, asked: Request) -> None:
        """Raise RegistryError unless the page is shown to who asks."""
        if not connection_of(asked.environ).by_debug_address:
            raise NameUnknown("no such URL: this is a registry's pull API, under /v2/")
        if not is_ours(asked.host, self.names):
            raise Denied(
                f"{asked.host[:100]} is no name of this server: call it by its address, or add the name to "
                "http.debug.hosts"
            )
        if self.admit is not None:
            self.admit(asked.headers.get("Authorization"), asked.remote_addr)


def blueprint(facts: Facts, door: Door) -> Blueprint:
    """Return the routes of the pages."""
    routes = Blueprint(NAME, __name__)
    site = _Site(facts)

    @routes.before_request
    def check() -> None:
        door.check(request)

    @routes.get("/ui/")
    def overview() -> Response:
        return site.overview()

    @routes.get("/ui/<path:name>")
    def other(name: str) -> Response:
        if name not in ASSETS:
            return site.missing(f"/ui/{name}")
        response = Response(asset(name), content_type=f"{ASSETS[name]}; charset=utf-8")
        response.headers["Cache-Control"] = "max-age=31536000, immutable"
        return response

    return routes


class _Site:
    """The pages as responses."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._renderer = Renderer(version=facts.version, pages=PAGES)
        overviews = Overviews(facts)
        self._overview = Remembered(lambda: self._render_overview(overviews.make()), _SECONDS)

    def overview(self) -> Response:
        return _page(self._overview.get())

    def missing(self, what: str) -> Response:
        response = _page(self._render("missing.html", "?", what=what))
        response.status_code = 404
        return response

    def _render_overview(self, found: Overview) -> bytes:
        facts = self._facts
        return self._render(
            "overview.html",
            "",
            overview=found,
            mirror=facts.mirror,
            address_is_known=facts.is_address_known,
            clients=[(name, steps(name, facts.mirror)) for name in CLIENTS],
            configuration=facts.configuration,
        )

    def _render(self, template: str, here: str, **values: object) -> bytes:
        now = datetime.fromtimestamp(time.time(), UTC).astimezone()
        return self._renderer.render(template, here=here, zone=now.tzname(), clock=now.strftime("%H:%M:%S"), **values)


def _page(html: bytes) -> Response:
    response = Response(html, content_type="text/html; charset=utf-8")
    # What it tells is of this moment, and for who has logged in.
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
