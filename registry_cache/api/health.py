"""``/healthz``, ``/readyz``, CNCF Distribution's ``/debug/health``, and which address serves what for monitoring.

``http.debug.addr`` has these, the metrics and the page, and nothing else; the main address has the rest as well. Health
never asks upstream: its outage is no reason to send clients elsewhere, for what is cached is served all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flask import Blueprint, Flask, Request, Response, request

from registry_cache.api.access_log import current
from registry_cache.api.responses import json_response
from registry_cache.errors import NameUnknown
from registry_cache.runtime.connection import connection_of

# The answer to every unknown URL.
NO_SUCH_URL = "no such URL: this is a registry's pull API, under /v2/"

# What fails, by CNCF Distribution's name for it, and how.
_STORE_CHECK = "storagedriver_filesystem"
_STORE_FAILS = "the store is gone, read-only or broken, or does not answer; the log says which"


@dataclass(frozen=True, slots=True)
class Readiness:
    """``ready``: may take traffic. ``store`` in a word: ``ok``, ``full`` (served, not kept), ``failing``.

    ``beside``: a word for each thing that helps and that nobody depends on, such as the bucket.
    """

    ready: bool
    store: str
    beside: Mapping[str, str] = field(default_factory=dict)


def blueprint(readiness: Callable[[], Readiness]) -> Blueprint:
    """Return the routes of health; ``readiness`` answers at once."""
    routes = Blueprint("ops", __name__)

    @routes.get("/healthz")
    def alive() -> Response:
        return _answer({"status": "ok"})

    @routes.get("/readyz")
    def ready() -> Response:
        found = readiness()
        response = _answer({"status": "ok" if found.ready else "unready", "store": found.store, **found.beside})
        response.status_code = 200 if found.ready else 503
        return response

    @routes.get("/debug/health")
    def debug_health() -> Response:
        if not by_debug(request):
            raise NameUnknown(NO_SUCH_URL)
        found = readiness()
        response = _answer({} if found.ready else {_STORE_CHECK: _STORE_FAILS})
        response.status_code = 200 if found.ready else 503
        return response

    return routes


def register(app: Flask, page_policies: Mapping[str, str]) -> None:
    """Let ``http.debug.addr`` serve monitoring and pages, and nothing else. Call it after ``hooks.register``.

    ``page_policies``: what a browser may do with the answers of a blueprint, by its name.
    """

    @app.before_request
    def keep_apart() -> None:
        exchange = current()
        part = exchange.request.blueprint or ""
        watching = part in ("ops", "metrics") or part in page_policies
        exchange.quiet = watching or part == "front_page"
        if exchange.connection.by_debug_address:
            if not watching:
                raise NameUnknown("no such URL: here are /ui/, /healthz, /readyz, /debug/health and the metrics")
            exchange.content_policy = page_policies.get(part, exchange.content_policy)


def by_debug(request: Request) -> bool:
    """Return whether the request came by ``http.debug.addr``."""
    return connection_of(request.environ).by_debug_address


def _answer(document: dict[str, str]) -> Response:
    response = json_response(document)
    # A proxy in between must not answer with how we were.
    response.headers["Cache-Control"] = "no-store"
    return response
