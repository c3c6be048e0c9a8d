"""Meet a registry's challenge: by a token from its token server, or by Basic (distribution's "Token Authentication";
P18-P22).

What is sent here goes to the registry's own origin alone, and the account to a token server that belongs to it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import requests
from cachetools import LRUCache, TTLCache

from registry_cache.errors import Denied, RegistryError, TooManyRequests, UpstreamElsewhere, UpstreamError
from registry_cache.oci.challenge import Challenge, parse_challenges
from registry_cache.oci.names import Repository
from registry_cache.runtime.log import Log
from registry_cache.upstream.credentials.account import Account, AccountUse
from registry_cache.upstream.credentials.realm import RealmRules
from registry_cache.upstream.credentials.tokens import MAX_TOKENS, Scope, Tokens
from registry_cache.upstream.network.url import Origin, is_at, origin, parse_url
from registry_cache.upstream.network.zones import EVERYWHERE
from registry_cache.upstream.registry_api import api_repository
from registry_cache.upstream.session import Session

# A challenge that could not be met is the last to be tried for so long, where there are others.
_FAILED_SECONDS = 60.0
# For a token where another challenge is left: all of them together have the time of one answer.
_FIRST_TOKEN_SECONDS = 3.0

_log = Log(__name__)


class Authenticator:
    """Authorization headers for the registry ``name`` at ``remote_url``.

    ``realms`` are hosts of token servers that the operator allows, besides those of the registry's own domain.
    """

    def __init__(
        self,
        name: str,
        remote_url: str,
        session: Session,
        account: Account,
        realms: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.home = origin(remote_url)
        self._session = session
        self._realms = RealmRules(name, frozenset(realm.lower() for realm in realms))
        self.account = AccountUse(account, clock)
        self._tokens = Tokens(name, session, self.account, clock)
        self._mutex = threading.Lock()
        self._scopes: LRUCache[tuple[Origin, str], Scope] = LRUCache(MAX_TOKENS)
        # By repository, another registry that this one redirects to.
        self._others: LRUCache[str, Origin] = LRUCache(MAX_TOKENS)
        # Where our account is sent as it is.
        self._basic_at: Origin | None = None
        self._failed: TTLCache[tuple[Origin, str], bool] = TTLCache(MAX_TOKENS, _FAILED_SECONDS, clock)

    def authorizations(self, repository: Repository) -> dict[Origin, str]:
        """Return the Authorization to send where with a request for ``repository``, as far as any was ever asked for.

        Fetches a token where the last one is about to expire. Raises UpstreamError and its kinds, Denied.
        """
        with self._mutex:
            other = self._others.get(repository)
            places = [self.home, other] if other else [self.home]
            scopes = {place: scope for place in places if (scope := self._scopes.get((place, repository)))}
            basic_at = self._basic_at
        if basic_at:
            credentials = self.account.unless_suspended()
            return {basic_at: credentials.basic()} if credentials else {}
        return {place: self._token(place, scope) for place, scope in scopes.items()}

    def is_current(self, place: Origin, repository: Repository, sent: str) -> bool:
        """Whether ``sent`` is a token that should be good at ``place``, as far as we know."""
        with self._mutex:
            scope = self._scopes.get((place, repository))
        return scope is not None and self._tokens.is_current(scope, sent)

    def renew(self, place: Origin, repository: Repository, sent: str, *, is_invalid: bool = False) -> str | None:
        """Return another token for ``place`` than ``sent``, which was refused there without a challenge; None for none.

        Unless it was called invalid, not where another one was refused in the same way a moment ago.
        """
        with self._mutex:
            scope = self._scopes.get((place, repository))
        if scope is None or (not is_invalid and self._tokens.is_vain(scope)):
            return None
        self._tokens.drop(scope, sent)
        answer = self._token(place, scope)
        return answer if answer != sent else None

    def is_vain(self, place: Origin, repository: Repository) -> bool:
        """Whether a token that had just been fetched was refused at ``place`` a moment ago."""
        with self._mutex:
            scope = self._scopes.get((place, repository))
        return scope is not None and self._tokens.is_vain(scope)

    def record_vain_token(self, place: Origin, repository: Repository) -> None:
        """Note that a token which had just been fetched was refused at ``place`` as the one before it was."""
        with self._mutex:
            scope = self._scopes.get((place, repository))
        if scope:
            self._tokens.record_vain(scope)

    def meet_challenge(
        self, repository: Repository | None, response: requests.Response, sent: str | None, *, own_scope: bool = False
    ) -> str | None:
        """Return the Authorization to try after the 401 ``response``, other than ``sent``; None if there is none.

        ``own_scope``: the scope that the challenge names led nowhere; by ours, if that is another (P19).

        Without a ``repository``, a token is good for nothing, but fetching it shows whether the account is. Where the
        registry has redirected to another one, that is met anonymously. Raises UpstreamError and its kinds, Denied.
        """
        place, first = origin(response.url), None
        challenges = self._usable(challenges_of(response), place)
        for challenge in challenges:
            try:
                if challenge.scheme == "basic":
                    answer = None if own_scope else self._meet_basic(place, sent)
                else:
                    seconds = None if challenge is challenges[-1] else _FIRST_TOKEN_SECONDS
                    answer = self._meet_bearer(repository, challenge, response, sent, seconds, own_scope=own_scope)
            except (UpstreamError, Denied) as error:
                first = first or error
                if len(challenges) > 1:
                    self._note_failure(place, challenge, error)
                continue
            if answer:
                return answer
        if first:
            raise first
        return None

    def _usable(self, challenges: list[Challenge], place: Origin) -> list[Challenge]:
        """Return those of the challenges of ``place`` that we can meet, in the order in which to try them."""
        bearers = [each for each in challenges if each.scheme == "bearer" and "realm" in each.parameters]
        with self._mutex:
            bearers.sort(key=lambda each: (place, each.parameters["realm"]) in self._failed)
        basics = [each for each in challenges if each.scheme == "basic"] if is_at(place, self.home) else []
        return [*bearers, *basics[:1]]

    def _note_failure(self, place: Origin, challenge: Challenge, error: RegistryError) -> None:
        realm = challenge.parameters.get("realm", "")
        _log.info("could not meet a challenge", upstream=self.name, scheme=challenge.scheme, realm=realm, error=error)
        with self._mutex:
            self._failed[place, realm] = True

    def other_account(self, refused: str) -> str | None:
        """Return the Authorization of other credentials than the ``refused`` ones; None where there are none."""
        credentials = self.account.credentials()
        if credentials and credentials.basic() == refused:
            credentials = self.account.replace(credentials)
        return credentials.basic() if credentials else None

    def replace_account(self, refused: str) -> str:
        """Return the Authorization to try after a 401 to our account, ``refused``, sent by Basic.

        Raises Denied where there is none: Basic has no anonymous access to fall back to.
        """
        if other := self.other_account(refused):
            return other
        if not self.account.trouble:
            self.account.suspend()
            remedy = "check proxy.username and proxy.password"
            _log.error("upstream refused our account", upstream=self.name, remedy=remedy)
        raise self._account_refused()

    def _account_refused(self) -> Denied:
        return Denied(f"{self.name} refused the account of this cache; its operator can check username and password")

    def _token(self, place: Origin, scope: Scope, seconds: float | None = None) -> str:
        try:
            return self._tokens.authorization(scope, seconds)
        except TooManyRequests as error:
            if is_at(place, self.home):
                raise
            # Whoever the registry redirects one name to, and what they name, must not stop all others.
            raise UpstreamElsewhere(error.message) from error

    def _realm(self, response: requests.Response, realm: str) -> str:
        """Return the URL of the token server that ``realm`` names; some registries name it as a link on a page does."""
        try:
            return str(parse_url(response.url).join(realm.strip()))
        except UpstreamError as error:
            raise UpstreamError(f"{self.name} names a token server at {error.message}") from None

    def _meet_basic(self, place: Origin, sent: str | None) -> str | None:
        if self.account.is_suspended:
            raise self._account_refused()
        credentials = self.account.credentials()
        with self._mutex:
            self._basic_at = place if credentials else None
        if credentials is None:
            return None
        answer = credentials.basic()
        return answer if answer != sent else self.replace_account(answer)

    def _meet_bearer(
        self,
        repository: Repository | None,
        challenge: Challenge,
        response: requests.Response,
        sent: str | None,
        seconds: float | None,
        *,
        own_scope: bool,
    ) -> str | None:
        place, realm = origin(response.url), self._realm(response, challenge.parameters["realm"])
        is_home = is_at(place, self.home)
        reach = EVERYWHERE if self._realms.is_listed(realm) else self._session.reach_from(response)
        trust = self._realms.trust(place, realm, reach, has_account=lambda: is_home and self.account.is_configured)
        # Another registry than ours, and whoever it names, never see our account.
        trust = "anonymous" if trust == "account" and not is_home else trust
        name = repository if is_home else api_repository(response.url)
        service = challenge.parameters.get("service", "")
        scopes = [Scope(realm, service, each, trust, reach) for each in _scopes(challenge, name)]
        with self._mutex:
            self._basic_at = None if is_home else self._basic_at
            if repository and place != self.home:
                self._others[repository] = place
        return self._first_token(place, repository, scopes[own_scope:], sent, seconds)

    def _first_token(
        self, place: Origin, repository: Repository | None, scopes: list[Scope], sent: str | None, seconds: float | None
    ) -> str | None:
        """Return the Authorization for the first of ``scopes`` that is granted; None where that is ``sent`` again."""
        first = None
        for scope in scopes:
            with self._mutex:
                if repository:
                    self._scopes[place, repository] = scope
            self._tokens.drop(scope, sent)
            try:
                answer = self._token(place, scope, seconds)
            except Denied as error:
                first = first or error
                continue
            return answer if answer != sent else None
        if first:
            raise first
        return None


def _scopes(challenge: Challenge, name: str | None) -> list[str]:
    """Return the scopes to ask for in turn: the challenge's, and ours where that is about another repository (P19)."""
    said, ours = challenge.parameters.get("scope", "").strip(), f"repository:{name}:pull" if name else ""
    is_said_enough = not ours or f"repository:{name}:" in said
    return [said or ours] if is_said_enough or not said else [said, ours]


def challenges_of(response: requests.Response) -> list[Challenge]:
    """Return the challenges in every WWW-Authenticate header of ``response``."""
    # requests joins repeated headers with commas; a challenge has commas of its own.
    return parse_challenges(response.raw.headers.getlist("WWW-Authenticate"))
