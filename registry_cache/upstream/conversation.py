"""One question's challenges: who is told what, place by place, and when to ask once more."""

from __future__ import annotations

import time

import requests

from registry_cache.errors import UpstreamUnavailable
from registry_cache.oci.names import Repository
from registry_cache.upstream.account import is_account
from registry_cache.upstream.auth import Authenticator, challenges_of
from registry_cache.upstream.questions import api_repository
from registry_cache.upstream.url import Origin, origin

# A token may be called invalid because the registry's clock is behind its token server's: it will be good in a moment.
_WAITS, _PAUSE_SECONDS = 2, 1.0
# Tokens that are called invalid before we give up; the time for an answer ends it where each takes long.
_MAX_INVALID = 6
# How registries answer an account whose password has expired: 401, ECR 403, others 400 (P70).
_EXPIRED = (400, 403)


class Conversation:
    """``authorizations`` are what to send where, for ``repository``."""

    def __init__(self, auth: Authenticator, repository: Repository) -> None:
        self._auth = auth
        self._repository = repository
        self.authorizations = auth.authorizations(repository)
        self._met: set[Origin] = set()
        self._renewed: set[Origin] = set()
        self._waits = self._invalid = 0
        self._account_replaced = False

    def go_on(self, response: requests.Response) -> bool:
        """Whether to ask again by other ``authorizations``, after ``response`` to these. Closes nothing.

        Raises UpstreamError and its kinds, Denied.
        """
        there = origin(response.url)
        sent = self.authorizations.get(there)
        answer = self._answer(there, response, sent)
        if answer is not None:
            self.authorizations[there] = answer
        return answer is not None

    def _answer(self, there: Origin, response: requests.Response, sent: str | None) -> str | None:
        """Return the Authorization to send ``there`` next; None where the response is the last."""
        if response.status_code in _EXPIRED and sent and is_account(sent) and not self._account_replaced:
            self._account_replaced = True
            return self._auth.other_account(sent)
        # A content server is told nothing; another registry, that this one redirects to, may have a challenge (P75).
        if response.status_code != 401 or not (there == self._auth.home or api_repository(response.url)):
            return None
        if sent and _is_invalid_token(response):
            return self._after_invalid_token(there, response, sent)
        if there not in self._met:
            self._met.add(there)
            self._renewed.add(there)
            return self._auth.meet_challenge(self._repository, response, sent)
        if sent and is_account(sent) and not self._account_replaced:
            self._account_replaced = True
            return self._auth.replace_account(sent)
        return None

    def _after_invalid_token(self, there: Origin, response: requests.Response, sent: str) -> str:
        """Return the same token after a pause, or another. Raises UpstreamUnavailable in the end: it is no refusal."""
        self._invalid += 1
        if self._invalid > _MAX_INVALID:
            raise UpstreamUnavailable(f"{self._auth.name} calls each token of its token server invalid")
        is_current = self._auth.is_current(there, self._repository, sent)
        if there in self._renewed and is_current and self._waits < _WAITS:
            self._waits += 1
            time.sleep(_PAUSE_SECONDS)
            return sent
        self._waits = 0
        self._renewed.add(there)
        answer = self._auth.meet_challenge(self._repository, response, sent)
        if answer is None:
            time.sleep(_PAUSE_SECONDS)
        return answer or sent


def _is_invalid_token(response: requests.Response) -> bool:
    return any(each.parameters.get("error") == "invalid_token" for each in challenges_of(response))
