"""Credentials: tokens from a registry's token server, and Basic (distribution's "Token Authentication"; P18-P22).

A token is fetched once for each scope and worker, kept until shortly before it expires, and sent to the registry's own
origin alone. The token server must belong to the registry: a registry that names another is not told our password.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlencode, urlsplit

import requests
from cachetools import LRUCache

from registry_cache.errors import Denied, UpstreamElsewhere, UpstreamError, UpstreamUnavailable
from registry_cache.oci.challenge import Challenge, parse_challenges
from registry_cache.oci.names import Repository
from registry_cache.runtime.log import Log
from registry_cache.upstream import errors
from registry_cache.upstream.deadline import bounded
from registry_cache.upstream.session import Session, origin

# Distribution's specification: a token without expires_in lives 60 seconds.
DEFAULT_LIFETIME = 60.0
# Renewed this much before its end, or after four fifths of a short life: it must outlive the request it is sent with.
RENEW_BEFORE = 30.0
# Tokens kept: one a repository; the least recently used goes.
MAX_TOKENS = 4096
# A longer token does not fit the header bounds of common servers, and would be sent with every request.
MAX_TOKEN_LENGTH = 16 * 1024
# The answer of a token server holds one token and little else.
MAX_TOKEN_ANSWER = 64 * 1024
# Seconds for a token, however its server drips: those who wait for the same scope wait for whoever fetches it.
TOKEN_SECONDS = 8.0
# How long refused credentials are not tried again: many registries lock accounts that come with a wrong password again
# and again. Anonymous access is used meanwhile, where there is any.
REFUSED_SECONDS = 60.0

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and a password or access token. Never shown."""

    username: str
    password: str

    def basic(self) -> str:
        """Return the value of an Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    def __repr__(self) -> str:
        return "Credentials(…)"


def is_account(authorization: str) -> bool:
    """Tell whether an Authorization is an account's own, and not a token."""
    return authorization.startswith("Basic ")


class Account(Protocol):
    """Who we are to a registry."""

    def credentials(self) -> Credentials | None:
        """Return them; None is anonymous. Raises UpstreamUnavailable."""

    def forget(self, refused: Credentials) -> None:
        """Return these no more without a look whether they have changed."""


class FixedAccount:
    """An account as the configuration has it."""

    def __init__(self, credentials: Credentials | None) -> None:
        self._credentials = credentials

    def credentials(self) -> Credentials | None:
        return self._credentials

    def forget(self, refused: Credentials) -> None:
        """Do nothing: the configuration is what it was."""


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a token is for; the same scope is the same token, whichever thread asks."""

    realm: str
    service: str
    scope: str

    @property
    def shown(self) -> str:
        return self.scope or "a login"


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    renew_at: float


class Authenticator:
    """Authorization headers for one registry.

    ``account`` is asked each time a token is fetched, so that a helper's short-lived credentials work, and once more
    where they were refused. ``realms`` are token servers' hosts that the operator allows beside those of the registry's
    own domain.
    """

    def __init__(
        self,
        name: str,
        remote_url: str,
        session: Session,
        account: Account,
        realms: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._home = origin(remote_url)
        self._session = session
        self._account = account
        self._realms = frozenset(realm.lower() for realm in realms)
        self._clock = clock
        self._mutex = threading.Lock()
        self._scopes: LRUCache[str, _Scope] = LRUCache(MAX_TOKENS)
        self._tokens: LRUCache[_Scope, _Token] = LRUCache(MAX_TOKENS)
        # Bounded like what it guards: clients choose names, and a scope that is refused is never taken out.
        self._fetching: LRUCache[_Scope, threading.Lock] = LRUCache(MAX_TOKENS)
        self._basic = False
        self._refused_until = 0.0
        self._refused = False
        # Why we have no account just now, though we should: what is refused then is no denial.
        self.trouble: str | None = None

    @property
    def without_account(self) -> bool:
        """Whether tokens are fetched anonymously though there is an account: it was refused, or its helper fails."""
        return self._refused or self.trouble is not None

    def header(self, repository: Repository) -> str | None:
        """Return the Authorization to send with a request for ``repository``; None where none was ever asked for.

        Fetches a token where the last one is about to expire. Raises UpstreamError and its kinds, Denied.
        """
        with self._mutex:
            scope = self._scopes.get(repository)
            basic = self._basic
        if basic:
            credentials = self._usable()
            return credentials.basic() if credentials else None
        return f"Bearer {self._token(scope)}" if scope else None

    def learn(self, repository: Repository | None, response: requests.Response, sent: str | None) -> str | None:
        """Take up the challenge of a 401; return the Authorization to try instead of ``sent``, None if there is none.

        Without a ``repository``, a token is good for nothing, and shows whether the account is.
        Raises UpstreamError and its kinds, Denied.
        """
        # requests joins repeated headers with commas; a challenge has commas of its own.
        challenges = parse_challenges(response.raw.headers.getlist("WWW-Authenticate"))
        bearer = next((each for each in challenges if each.scheme == "bearer" and "realm" in each.parameters), None)
        if bearer:
            return self._learn_bearer(repository, bearer, sent)
        if any(each.scheme == "basic" for each in challenges):
            return self._learn_basic(sent)
        return None

    def refused(self, sent: str) -> str:
        """Take note of a 401 to our account, ``sent`` by Basic, and return the Authorization to try instead.

        Raises Denied where there is none: Basic has no anonymous access to fall back to.
        """
        credentials = self._credentials()
        if credentials and credentials.basic() == sent:
            credentials = self._renewed(credentials)
        if credentials:
            return credentials.basic()
        if not self.trouble:
            self._refused_until = self._clock() + REFUSED_SECONDS
            _log.error(
                "upstream refused our account", upstream=self._name, remedy="check proxy.username and proxy.password"
            )
        raise self._account_refused()

    def _account_refused(self) -> Denied:
        return Denied(f"{self._name} refused the account of this cache; its operator can check username and password")

    def _learn_basic(self, sent: str | None) -> str | None:
        if self._clock() < self._refused_until:
            raise self._account_refused()
        credentials = self._credentials()
        with self._mutex:
            self._basic = credentials is not None
        if credentials is None:
            return None
        answer = credentials.basic()
        return answer if answer != sent else self.refused(answer)

    def _credentials(self) -> Credentials | None:
        """Return our account; none where its helper fails: public images need none. ``trouble`` then says why.

        A helper that fails is no failure of the registry: that is asked without, and says itself what it refuses.
        """
        try:
            credentials = self._account.credentials()
        except UpstreamUnavailable as error:
            self.trouble = error.message
            return None
        self.trouble = None
        return credentials

    def _usable(self) -> Credentials | None:
        """Return our account, unless it was refused just now."""
        return self._credentials() if self._clock() >= self._refused_until else None

    def _renewed(self, refused: Credentials) -> Credentials | None:
        """Return other credentials than the ``refused`` ones, where there are any: a password may have changed."""
        self._account.forget(refused)
        credentials = self._credentials()
        return credentials if credentials != refused else None

    def _learn_bearer(self, repository: Repository | None, challenge: Challenge, sent: str | None) -> str | None:
        parameters = challenge.parameters
        scope = _Scope(
            realm=self._allowed(parameters["realm"]),
            service=parameters.get("service", ""),
            scope=parameters.get("scope") or (f"repository:{repository}:pull" if repository else ""),
        )
        with self._mutex:
            self._basic = False
            if repository:
                self._scopes[repository] = scope
            token = self._tokens.get(scope)
            # Refused although we held it for good: revoked, or too small for this. Whoever renewed it meanwhile won.
            if token and sent == f"Bearer {token.value}":
                del self._tokens[scope]
        answer = f"Bearer {self._token(scope)}"
        return answer if answer != sent else None

    def _token(self, scope: _Scope) -> str:
        token = self._kept(scope)
        if token:
            return token
        with self._mutex:
            fetching = self._fetching.setdefault(scope, threading.Lock())
        with fetching:
            # A second look: whoever held the lock before us may have fetched it.
            token = self._kept(scope)
            if token:
                return token
            # In a thread of its own: the lock must be let go of in time, whatever the sockets do.
            fetched = bounded(
                TOKEN_SECONDS,
                f"asked {self._name}'s token server for {scope.shown}",
                lambda: self._fetch(scope),
            )
            with self._mutex:
                self._tokens[scope] = fetched
                self._fetching.pop(scope, None)
            return fetched.value

    def _kept(self, scope: _Scope) -> str | None:
        with self._mutex:
            token = self._tokens.get(scope)
        return token.value if token and self._clock() < token.renew_at else None

    def _fetch(self, scope: _Scope) -> _Token:
        credentials = self._usable()
        asked_at = self._clock()
        response = self._ask(scope, credentials)
        if response.status_code == 401 and credentials and (renewed := self._renewed(credentials)):
            response.close()
            credentials, response = renewed, self._ask(scope, renewed)
        if credentials:
            self._refused = response.status_code == 401
        if response.status_code in (401, 403) and credentials:
            # Wrong credentials must not fail public images at night: say so loudly, go on as anyone (P22).
            response.close()
            # 403 may be about this scope alone; other private repositories still need the account.
            if self._refused:
                self._refused_until = self._clock() + REFUSED_SECONDS
            _log.error(
                "upstream refused our account; going on anonymously",
                upstream=self._name,
                scope=scope.shown,
                remedy="check proxy.username and proxy.password",
                status=response.status_code,
            )
            response = self._ask(scope, None)
        try:
            return self._read(response, asked_at)
        finally:
            response.close()

    def _ask(self, scope: _Scope, credentials: Credentials | None) -> requests.Response:
        query = [(key, value) for key, value in (("service", scope.service), ("scope", scope.scope)) if value]
        if credentials:
            query.append(("account", credentials.username))
        url = scope.realm + ("&" if urlsplit(scope.realm).query else "?") + urlencode(query)
        headers = {"Accept": "application/json"}
        if credentials:
            headers["Authorization"] = credentials.basic()
        return self._session.send("GET", url, headers, f"asked its token server for {scope.shown}", TOKEN_SECONDS)

    def _read(self, response: requests.Response, asked_at: float) -> _Token:
        what = "a token"
        server = f"{self._name}'s token server"
        if response.status_code == 404:
            # It says nothing about what we want to read; a denial would end access to copies.
            raise UpstreamElsewhere(f"{server} answered 404 for {what}")
        if response.status_code != 200:
            raise errors.refusal(server, what, response, Denied)
        body = errors.read_body(server, f"read {what}", response, MAX_TOKEN_ANSWER + 1, TOKEN_SECONDS)
        value, lifetime = _parse_token(body, self._name)
        return _Token(value, asked_at + max(lifetime - RENEW_BEFORE, lifetime * 0.8))

    def _allowed(self, realm: str) -> str:
        """Return ``realm`` if our password may be told there (P21); UpstreamError otherwise."""
        scheme, host, _ = origin(realm)
        own = self._home[1]
        downgrade = self._home[0] == "https" and scheme != "https"
        same_domain = _domain(host) is not None and _domain(host) == _domain(own)
        if not downgrade and (host == own or host in self._realms or same_domain):
            return realm
        raise UpstreamError(
            f"{self._name} sends us to the token server {scheme}://{host}, which is not its own; "
            f"if it is, list {host} under tokenrealms"
        )


def _parse_token(body: bytes, name: str) -> tuple[str, float]:
    """Return token and lifetime in seconds from a token server's answer. Raises UpstreamError."""
    try:
        answer = json.loads(body) if len(body) <= MAX_TOKEN_ANSWER else None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, Mapping):
        raise UpstreamError(f"{name}'s token server answered no JSON object of a reasonable size")
    value = answer.get("token") or answer.get("access_token")
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or len(value) > MAX_TOKEN_LENGTH:
        raise UpstreamError(f"{name}'s token server answered without a token that can be sent")
    lifetime = answer.get("expires_in")
    if not isinstance(lifetime, int | float) or not 0 < lifetime < 10**9:
        lifetime = DEFAULT_LIFETIME
    return value, float(lifetime)


def _domain(host: str) -> str | None:
    """Return the domain under which ``host`` was registered; None for an address or a bare name, which share none.

    Without the list of public suffixes: two labels, or three where the second is a registry's own (``co.uk``).
    """
    labels = host.split(".")
    if len(labels) < 2 or labels[-1].isdigit() or ":" in host:
        return None
    own = 3 if len(labels[-1]) == 2 and labels[-2] in ("ac", "co", "com", "edu", "gov", "net", "or", "org") else 2
    return ".".join(labels[-own:]) if len(labels) >= own else None
