"""Tokens from a registry's token server: each fetched once a scope and worker, and kept until shortly before it expires
(distribution's "Token Authentication"; P19, P20, P22).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode

import requests
from cachetools import LRUCache, TTLCache

from registry_cache.errors import Denied, TooManyRequests, UpstreamElsewhere, UpstreamError
from registry_cache.oci.json_object import parse_object
from registry_cache.runtime.log import Log
from registry_cache.runtime.single_flight import SingleFlight
from registry_cache.upstream.body import read_body
from registry_cache.upstream.credentials.account import AccountUse, Credentials
from registry_cache.upstream.credentials.realm import Trust
from registry_cache.upstream.deadline import run_with_timeout
from registry_cache.upstream.network.url import parse_url
from registry_cache.upstream.network.zones import EVERYWHERE, Reach
from registry_cache.upstream.rate_limits import burst_wait
from registry_cache.upstream.refusal import refusal
from registry_cache.upstream.session import HttpRequest, Session

# The lifetime of a token without expires_in, by distribution's specification.
DEFAULT_LIFETIME_SECONDS = 60.0
# Renewed this long before its end, or after four fifths of a short life: it must outlive the request it is sent with.
RENEW_BEFORE_SECONDS = 30.0
# A token that was refused without a reason is not replaced so soon after another one was refused in the same way.
VAIN_SECONDS = 60.0
# Tokens kept, one a repository; the least recently used goes first.
MAX_TOKENS = 4096
# A longer token does not fit the header limits of common servers, and would be sent with every request.
MAX_TOKEN_LENGTH = 16 * 1024
# The answer of a token server holds one token and little else.
MAX_TOKEN_ANSWER = 64 * 1024
# For a whole token, however slowly its bytes arrive: all who want this scope wait for the one that fetches it.
TOKEN_TIMEOUT_SECONDS = 8.0

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token is for; the same scope is the same token, whichever thread asks.

    ``trust``: what its token server may see; ``reach``: on which networks it may be.
    """

    realm: str
    service: str
    scope: str
    trust: Trust = "account"
    reach: Reach = EVERYWHERE

    @property
    def shown(self) -> str:
        return self.scope or "a login"


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    renew_at: float


class Tokens:
    """The tokens of one registry, ``name``. ``account`` is asked each time one is fetched: a helper's may change."""

    def __init__(self, name: str, session: Session, account: AccountUse, clock: Callable[[], float]) -> None:
        self._name = name
        self._session = session
        self._account = account
        self._clock = clock
        self._mutex = threading.Lock()
        self._tokens: LRUCache[Scope, _Token] = LRUCache(MAX_TOKENS)
        self._vain: TTLCache[Scope, bool] = TTLCache(MAX_TOKENS, VAIN_SECONDS, clock)
        self._fetches: SingleFlight[Scope, str] = SingleFlight()

    def authorization(self, scope: Scope, seconds: float | None = None) -> str:
        """Return the Authorization header for ``scope``, within so many ``seconds``, or TOKEN_TIMEOUT_SECONDS.

        Raises UpstreamError, Denied, TooManyRequests.
        """
        value = self._cached(scope) or self._fetches.run(
            scope, lambda: self._cached(scope) or self._renew(scope, seconds)
        )
        return f"Bearer {value}"

    def drop(self, scope: Scope, refused: str | None) -> None:
        """Forget a token that was ``refused`` while it seemed good; one that another thread has fetched since stays."""
        with self._mutex:
            token = self._tokens.get(scope)
            if token and refused == f"Bearer {token.value}":
                del self._tokens[scope]

    def is_current(self, scope: Scope, authorization: str) -> bool:
        """Whether ``authorization`` is the token that we hold, and not about to expire."""
        return authorization == f"Bearer {self._cached(scope)}"

    def record_vain(self, scope: Scope) -> None:
        """Note that another token for ``scope`` was of no more use than the one before it."""
        with self._mutex:
            self._vain[scope] = True

    def is_vain(self, scope: Scope) -> bool:
        """Whether another token for ``scope`` was of no use a moment ago: each one is a request."""
        with self._mutex:
            return scope in self._vain

    def _cached(self, scope: Scope) -> str | None:
        with self._mutex:
            token = self._tokens.get(scope)
        return token.value if token and self._clock() < token.renew_at else None

    def _renew(self, scope: Scope, seconds: float | None) -> str:
        what = f"asked {self._name}'s token server for {scope.shown}"
        token = run_with_timeout(
            TOKEN_TIMEOUT_SECONDS if seconds is None else seconds, what, lambda: self._fetch(scope)
        )
        with self._mutex:
            self._tokens[scope] = token
        return token.value

    def _fetch(self, scope: Scope) -> _Token:
        try:
            return self._fetch_once(scope)
        except TooManyRequests as error:
            wait = burst_wait(error.retry_after)
            if wait is None:
                raise
        # Nothing can be asked without a token, and a limit that is noted stops everything.
        time.sleep(wait)
        return self._fetch_once(scope)

    def _fetch_once(self, scope: Scope) -> _Token:
        asked_at = self._clock()
        try:
            with self._ask(scope) as response:
                value, lifetime = self._read(response)
        except UpstreamError as error:
            if scope.trust == "account":
                raise
            # It may be anything that the registry has named: clients are not told what answers there.
            _log.warning("a token server failed", upstream=self._name, scope=scope.shown, error=error)
            raise self._session.elsewhere(f"asked its token server for {scope.shown}") from error
        return _Token(value, asked_at + max(lifetime - RENEW_BEFORE_SECONDS, lifetime * 0.8))

    def _ask(self, scope: Scope) -> requests.Response:
        """Ask with the account, with its new credentials where it was refused, and at last anonymously."""
        credentials = self._account.unless_suspended() if scope.trust == "account" else None
        response = self._send(scope, credentials)
        if response.status_code in (400, 401, 403) and credentials and (other := self._account.replace(credentials)):
            response.close()
            credentials, response = other, self._send(scope, other)
        if credentials is None:
            return response
        self._account.was_refused = response.status_code == 401
        if response.status_code not in (401, 403):
            return response
        # A wrong password must not break pulls of public images: log it loudly and go on anonymously (P22).
        response.close()
        # 403 may concern this scope alone; other private repositories still need the account.
        if self._account.was_refused:
            self._account.suspend()
        _log.error(
            "upstream refused our account; going on anonymously",
            upstream=self._name,
            scope=scope.shown,
            remedy="check proxy.username and proxy.password",
            status=response.status_code,
        )
        return self._send(scope, None)

    def _send(self, scope: Scope, credentials: Credentials | None) -> requests.Response:
        account = credentials.username if credentials else ""
        query = {"service": scope.service, "scope": scope.scope, "account": account}
        url = parse_url(scope.realm).with_query(urlencode({key: value for key, value in query.items() if value}))
        headers = {"Accept": "application/json"}
        if credentials:
            headers["Authorization"] = credentials.basic()
        what = f"asked its token server for {scope.shown}"
        return self._session.send(HttpRequest("GET", str(url), headers, what, TOKEN_TIMEOUT_SECONDS, reach=scope.reach))

    def _read(self, response: requests.Response) -> tuple[str, float]:
        server, what = f"{self._name}'s token server", "a token"
        if response.status_code == 404:
            # It says nothing about what we want to read; a denial would end access to copies.
            raise UpstreamElsewhere(f"{server} answered 404 for {what}")
        if not response.ok:
            raise refusal(server, what, response, Denied, is_registry=False)
        return _parse_token(
            server, read_body(server, f"read {what}", response, MAX_TOKEN_ANSWER + 1, TOKEN_TIMEOUT_SECONDS)
        )


def _parse_token(server: str, body: bytes) -> tuple[str, float]:
    """Return the token and its lifetime in seconds. Raises UpstreamError."""
    answer = parse_object(body) if len(body) <= MAX_TOKEN_ANSWER else None
    if answer is None:
        raise UpstreamError(f"{server} answered no JSON object of a reasonable size")
    value = answer.get("token") or answer.get("access_token")
    value = value.strip() if isinstance(value, str) else ""
    if not value or not value.isascii() or not value.isprintable() or len(value) > MAX_TOKEN_LENGTH:
        raise UpstreamError(f"{server} answered without a token that can be sent")
    return value, _lifetime(answer.get("expires_in"))


def _lifetime(said: object) -> float:
    """Return the seconds that ``expires_in`` says; some write the number as a string."""
    if isinstance(said, str) and said.isascii() and said.isdigit() and len(said) < 10:
        said = int(said)
    if isinstance(said, int | float) and not isinstance(said, bool) and 0 < said < 10**9:
        return float(said)
    return DEFAULT_LIFETIME_SECONDS
