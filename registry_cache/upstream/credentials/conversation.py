"""One question's challenges: who is told what, place by place, and when to ask once more."""

from __future__ import annotations

import time

import requests

from registry_cache.errors import UpstreamUnavailable
from registry_cache.oci.challenge import Challenge
from registry_cache.oci.names import Repository
from registry_cache.upstream.credentials.account import is_account
from registry_cache.upstream.credentials.auth import Authenticator, challenges_of
from registry_cache.upstream.credentials.token_words import is_new, says_invalid
from registry_cache.upstream.network.url import Origin, is_at, origin
from registry_cache.upstream.refusal import reason_of
from registry_cache.upstream.registry_api import api_repository

# A token may be called invalid because the registry's clock is behind its token server's: it will be good in a moment.
_WAITS, _PAUSE_SECONDS = 2, 1.0
# Tokens that are called invalid before we give up; the time for an answer ends it where each takes long.
_MAX_INVALID = 6
# How registries answer an account or a token that is no longer good: 401, ECR 403, others 400 (P70).
_REFUSALS = (400, 401, 403)


class Conversation:
    """``authorizations`` are what to send where, for ``repository``."""

    def __init__(self, auth: Authenticator, repository: Repository) -> None:
        self._auth = auth
        self._repository = repository
        self.authorizations = auth.authorizations(repository)
        self._met: set[Origin] = set()
        self._renewed: set[Origin] = set()
        self._by_own: set[Origin] = set()
        self._waits = self._invalid = 0
        self._account_replaced = False

    def go_on(self, response: requests.Response) -> bool:
        """Whether to ask again by other ``authorizations``, after ``response`` to these. Closes nothing.

        Raises UpstreamError and its kinds, Denied.
        """
        if response.status_code not in _REFUSALS:
            return False
        there = origin(response.url)
        answer = self._answer(there, response, self.authorizations.get(there))
        if answer is not None:
            self.authorizations[there] = answer
        return answer is not None

    def _answer(self, there: Origin, response: requests.Response, sent: str | None) -> str | None:
        """Return the Authorization to send ``there`` next; None where the response is the last."""
        challenges = challenges_of(response)
        if sent and is_account(sent) and (response.status_code != 401 or not challenges):
            return self._other_account(sent)
        if not self._may_challenge(there, response):
            return None
        is_token = sent is not None and not is_account(sent)
        if sent and is_token and _is_invalid(response, challenges):
            return self._after_invalid_token(there, response, sent)
        if challenges and there not in self._met:
            self._met.add(there)
            if answer := self._auth.meet_challenge(self._repository, response, sent):
                self._renewed.add(there)
                return answer
        if sent and is_token:
            return self._by_own_scope(there, response, sent) or self._after_refused_token(
                there, response, challenges, sent
            )
        if sent and not self._account_replaced:
            self._account_replaced = True
            return self._auth.replace_account(sent)
        return None

    def _may_challenge(self, there: Origin, response: requests.Response) -> bool:
        """Whether a place may be told anything. A content server may not; another registry, that ours redirects to, may
        have a challenge of its own (P75), but not where everybody on the way could read the token.
        """
        home = self._auth.home
        is_readable = home[0] == "https" and there[0] != "https"
        return is_at(there, home) or (not is_readable and api_repository(response.url) is not None)

    def _other_account(self, sent: str) -> str | None:
        if self._account_replaced:
            return None
        self._account_replaced = True
        return self._auth.other_account(sent)

    def _by_own_scope(self, there: Origin, response: requests.Response, sent: str) -> str | None:
        """Return what to send where a challenge names the scope of something else, and its token is of no use."""
        if there not in self._met or there in self._by_own:
            return None
        self._by_own.add(there)
        return self._auth.meet_challenge(self._repository, response, sent, own_scope=True)

    def _after_refused_token(
        self, there: Origin, response: requests.Response, challenges: list[Challenge], sent: str
    ) -> str | None:
        """Return what to send after a token was refused without a word of why; None where it is a refusal of access."""
        if there not in self._renewed:
            # It may have expired, or been issued before we had access.
            self._renewed.add(there)
            return self._auth.renew(there, self._repository, sent)
        is_scope = any(each.parameters.get("error") == "insufficient_scope" for each in challenges)
        may_be_early = response.status_code == 401 and not is_scope and is_new(sent, time.time())
        if may_be_early and self._waits < _WAITS and not self._auth.is_vain(there, self._repository):
            self._waits += 1
            time.sleep(_PAUSE_SECONDS)
            return sent
        self._auth.record_vain_token(there, self._repository)
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
        # Some call a token invalid without a challenge.
        answer = self._auth.meet_challenge(self._repository, response, sent) or self._auth.renew(
            there, self._repository, sent, is_invalid=True
        )
        if answer is None:
            time.sleep(_PAUSE_SECONDS)
        return answer or sent


def _is_invalid(response: requests.Response, challenges: list[Challenge]) -> bool:
    said = [each.parameters.get(name, "") for each in challenges for name in ("error", "error_description")]
    return says_invalid(*said, reason_of(response))
