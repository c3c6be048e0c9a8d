"""Flask for an API of few routes and plain functions, which keeps nothing between requests.

Flask's own way is open to more: adapters for many hosts, sessions, coroutines, a search for each URL's route. A mirror
is asked for the same URLs thousands of times a second, and that took a quarter of a hit (docs/adr/0014).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from flask import Flask, Request
from flask.sessions import NullSession, SessionInterface, SessionMixin
from werkzeug.routing import Map, MapAdapter, Rule

# URLs whose routes are remembered, each of up to 4 kB: what a client may write in a request line.
_REMEMBERED = 512

_Matched = tuple[Rule, Mapping[str, Any]]


class _NoSessions(SessionInterface):
    """One empty session that cannot be written, instead of a new one for each request."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> SessionMixin:
        return self._none


class _Adapter(MapAdapter):
    """Finds the route of one request for Flask, and remembers those of others."""

    def __init__(self, routes: Map, matched: Callable[[str, str], _Matched], request: Request) -> None:
        super().__init__(routes, "", "/", "", request.scheme, request.path, request.method)
        self._matched = matched

    def match(self, *args: Any, **options: Any) -> Any:
        """Called by Flask, which wants the rule. Raises HTTPException where there is none."""
        if args or options != {"return_rule": True}:
            return super().match(*args, **options)
        rule, values = self._matched(self.path_info, self.default_method)
        return rule, dict(values)


class Application(Flask):
    """The application, still without routes."""

    session_interface = _NoSessions()

    def __init__(self) -> None:
        super().__init__("registry_cache", static_folder=None)
        # Names are taken as they are written: a redirect to a tidier URL would lose a client's digest check.
        self.url_map.merge_slashes = False
        self.url_map.strict_slashes = False
        self.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
        # Exceptions are not remembered: a URL without a route is looked for each time.
        self._matched = lru_cache(maxsize=_REMEMBERED)(self._match)

    def _match(self, path: str, method: str) -> _Matched:
        return self.url_map.bind("").match(path, method, return_rule=True)

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Called by Flask for each request, and for contexts without one."""
        return None if request is None else _Adapter(self.url_map, self._matched, request)

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Called by Flask for each function that it is about to call; none here is a coroutine."""
        return func
