"""Meet a registry's challenge: by a token from its token server, or by Basic (distribution's "Token Authentication";
P18-P22).

What is sent here goes to the registry's own origin alone, and the account to a token server that belongs to it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import requests
from cachetools import LRUCache

from registry_cache.errors import Denied
from registry_cache.oci.challenge import Challenge, parse_challenges
from registry_cache.oci.names import Repository
from registry_cache.runtime.log import Log
from registry_cache.upstream.account import Account, AccountUse
from registry_cache.upstream.origin import origin
from registry_cache.upstream.realm import check_realm
from registry_cache.upstream.session import Session
from registry_cache.upstream.tokens import MAX_TOKENS, Scope, Tokens

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
        realms: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._home = origin(remote_url)
        self._realms = frozenset(realm.lower() for realm in realms)
        self.account = AccountUse(account, clock)
        self._tokens = Tokens(name, session, self.account, clock)
        self._mutex = threading.Lock()
        self._scopes: LRUCache[str, Scope] = LRUCache(MAX_TOKENS)
        self._uses_basic = False

    def header(self, repository: Repository) -> str | None:
        """Return the Authorization to send with a request for ``repository``; None where none was ever asked for.

        Fetches a token where the last one is about to expire. Raises UpstreamError and its kinds, Denied.
        """
        with self._mutex:
            scope = self._scopes.get(repository)
            uses_basic = self._uses_basic
        if uses_basic:
            credentials = self.account.unless_suspended()
            return credentials.basic() if credentials else None
        return self._tokens.authorization(scope) if scope else None

    def meet_challenge(
        self, repository: Repository | None, response: requests.Response, sent: str | None
    ) -> str | None:
        """Return the Authorization to try after the 401 ``response``, other than ``sent``; None if there is none.

        Without a ``repository``, a token is good for nothing, but fetching it shows whether the account is.
        Raises UpstreamError and its kinds, Denied.
        """
        challenges = challenges_of(response)
        bearer = next((each for each in challenges if each.scheme == "bearer" and "realm" in each.parameters), None)
        if bearer:
            return self._meet_bearer(repository, bearer, sent)
        if any(each.scheme == "basic" for each in challenges):
            return self._meet_basic(sent)
        return None

    def replace_account(self, refused: str) -> str:
        """Return the Authorization to try after a 401 to our account, ``refused``, sent by Basic.

        Raises Denied where there is none: Basic has no anonymous access to fall back to.
        """
        credentials = self.account.credentials()
        if credentials and credentials.basic() == refused:
            credentials = self.account.replace(credentials)
        if credentials:
            return credentials.basic()
        if not self.account.trouble:
            self.account.suspend()
            remedy = "check proxy.username and proxy.password"
            _log.error("upstream refused our account", upstream=self._name, remedy=remedy)
        raise self._account_refused()

    def _account_refused(self) -> Denied:
        return Denied(f"{self._name} refused the account of this cache; its operator can check username and password")

    def _meet_basic(self, sent: str | None) -> str | None:
        if self.account.is_suspended:
            raise self._account_refused()
        credentials = self.account.credentials()
        with self._mutex:
            self._uses_basic = credentials is not None
        if credentials is None:
            return None
        answer = credentials.basic()
        return answer if answer != sent else self.replace_account(answer)

    def _meet_bearer(self, repository: Repository | None, challenge: Challenge, sent: str | None) -> str | None:
        parameters = challenge.parameters
        check_realm(self._name, self._home, parameters["realm"], self._realms)
        default = f"repository:{repository}:pull" if repository else ""
        scope = Scope(parameters["realm"], parameters.get("service", ""), parameters.get("scope") or default)
        with self._mutex:
            self._uses_basic = False
            if repository:
                self._scopes[repository] = scope
        self._tokens.drop(scope, sent)
        answer = self._tokens.authorization(scope)
        return answer if answer != sent else None


def challenges_of(response: requests.Response) -> list[Challenge]:
    """Return the challenges in every WWW-Authenticate header of ``response``."""
    # requests joins repeated headers with commas; a challenge has commas of its own.
    return parse_challenges(response.raw.headers.getlist("WWW-Authenticate"))
