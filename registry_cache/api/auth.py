"""Logins: every URL except those for monitoring is for users of the htpasswd file only.

Registered behind what begins an exchange and before any route: strangers are not told either which URLs there are.
What a client sends as its password goes no further than this: neither upstream nor into a log.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from flask import Flask, request

from registry_cache.api.access_log import current
from registry_cache.api.health import by_debug
from registry_cache.api.peers import by_peer
from registry_cache.auth import basic
from registry_cache.auth.slowdown import Slowdown
from registry_cache.auth.users import Users
from registry_cache.auth.verifier import TooManyLogins, Verifier
from registry_cache.errors import TooManyRequests, Unauthorized
from registry_cache.runtime import metrics
from registry_cache.runtime.log import Log

# Monitoring has no login; these URLs decide themselves what they tell, and to whom.
WITHOUT_LOGIN = ("/", "/metrics", "/healthz", "/readyz")
# Wrong logins that wait for their answer. Each holds a connection of the worker's, and no thread.
MAX_WAITING = 200

_log = Log(__name__)


class Guard:
    """Lets users in. ``sleep`` takes seconds; in a worker it is gevent's."""

    def __init__(
        self,
        realm: str,
        users: Users,
        verifier: Verifier,
        slowdown: Slowdown,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._challenge = basic.challenge(realm)
        self._users, self._verifier, self._slowdown, self._sleep = users, verifier, slowdown, sleep
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)

    def admit(self, header: str | None, address: str | None) -> str:
        """Return the user's name. Raises Unauthorized, TooManyRequests."""
        try:
            login = basic.parse(header)
        except basic.MalformedHeader as error:
            reason = f"the Authorization header {error}"
            self._fail(None, address, reason)
            raise self._refusal(reason) from error
        if login is None:
            # Every client begins like this: it is not a failure.
            raise self._refusal("login required")
        try:
            failures = self._slowdown.failures(address)
            right = self._verifier.verify(self._users.hashes(), login, address, failures)
        except TooManyLogins as error:
            raise TooManyRequests("too many logins at once; try again", retry_after=1) from error
        if not right:
            reason = login.fault or "wrong user name or password"
            self._fail(login.name, address, reason)
            raise self._refusal(reason)
        return login.name

    def _fail(self, user: str | None, address: str | None, reason: str) -> None:
        delay = self._slowdown.failed(address, user)
        metrics.count_failed_login()
        _log.warning("login failed", client=address, user=user, reason=reason, delay=delay)
        if not self._waiting.acquire(blocking=False):
            raise TooManyRequests("too many failed logins at once; try again", retry_after=delay)
        try:
            self._sleep(delay)
        finally:
            self._waiting.release()

    def _refusal(self, reason: str) -> Unauthorized:
        return Unauthorized(f"{reason}: docker login {request.host[:255]}", challenge=self._challenge)


def register(app: Flask, guard: Guard) -> None:
    """Make ``app`` ask for a login. Call it after ``hooks.register``, which begins the exchange."""

    @app.before_request
    def admit() -> None:
        if request.path not in WITHOUT_LOGIN and not by_debug(request) and not by_peer(request):
            exchange = current()
            exchange.user = guard.admit(request.headers.get("Authorization"), exchange.client)
