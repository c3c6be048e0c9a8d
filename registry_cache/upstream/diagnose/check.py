"""Tries one upstream as the server would ask it, step by step, and says in words what is wrong and what to do.

No step is a pull that a registry counts: ``/v2/``, a token, and a HEAD of a manifest. Nothing is kept: a limit that is
met here is not noted for the server. Each step is bounded in time; after one that failed, those that need it are left
out.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import requests
import urllib3

from registry_cache.errors import Denied, NotFound, RegistryError, TooManyRequests, UpstreamError, UpstreamTimeout
from registry_cache.oci.challenge import parse_challenges
from registry_cache.oci.names import Reference, Repository, Tag
from registry_cache.upstream import errors
from registry_cache.upstream.auth import Account, Authenticator, is_account
from registry_cache.upstream.client import Upstream
from registry_cache.upstream.deadline import bounded
from registry_cache.upstream.diagnose.connectivity import Reach, Resolve
from registry_cache.upstream.diagnose.steps import WAIT, Failed, State, Step, Target
from registry_cache.upstream.diagnose.tls_failure import tls_failure
from registry_cache.upstream.health import Health
from registry_cache.upstream.limits import Limits
from registry_cache.upstream.session import Session

# Seconds for each step; a little more than the server itself waits for the beginning of an answer.
PATIENCE = 10.0

_T = TypeVar("_T")
Wanted = Sequence[tuple[Repository, Reference]]


class _Witness(Session):
    """A session, and whether our account was sent in it and anybody refused it: an Authenticator then goes on
    anonymously.
    """

    def __init__(self, session: Session) -> None:
        # Not a session of its own: what is tried is what the server uses.
        self._session = session
        self.account_sent = False
        self.account_refused = False

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        what: str,
        silence: float | None = None,
        sent_on: Callable[[], None] = lambda: None,
    ) -> requests.Response:
        response = self._session.send(method, url, headers, what, silence, sent_on)
        if is_account(headers.get("Authorization", "")):
            self.account_sent = True
            self.account_refused |= response.status_code in (401, 403)
        return response


class _Memory:
    """A ``health.Board`` that nobody else reads."""

    def __init__(self) -> None:
        self.known = Limits()

    def limits(self) -> Limits:
        return self.known

    def update_limits(self, change: Callable[[Limits], Limits]) -> Limits:
        self.known = change(self.known)
        return self.known

    def is_down(self) -> bool:
        return False

    def put_down(self, since: float | None, cause: str) -> None:
        """Nobody asks."""


HELPER_REMEDY = "run it by hand: its argument is get, it reads the server's name and writes JSON"


class Check:
    """The steps of one upstream. ``resolve`` is socket.getaddrinfo, but in tests; ``patience`` in seconds a step."""

    def __init__(
        self,
        target: Target,
        session: Session,
        account: Account,
        resolve: Resolve | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._target = target
        self._session = _Witness(session)
        self._auth = Authenticator(target.name, target.url, self._session, account, target.realms)
        self._board = _Memory()
        self._reach = Reach(target, resolve or socket.getaddrinfo, patience)
        self._patience = patience
        if target.insecure:
            # It would warn of what the operator has asked for, between our lines.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def run(self, wanted: Wanted, sample: Wanted = ()) -> Iterator[Step]:
        """Yield each step when it is done; the last ones are a HEAD of each manifest that is ``wanted``.

        Where none is, of those of the ``sample``, which may be gone by now.
        """
        asked = wanted or sample
        try:
            yield from self._reach.steps()
            with self._asked("answer", lambda: self._greet({})) as answer:
                if self._target.url.startswith("https:"):
                    yield Step("TLS", "ok", self._trusted())
                yield self._judged(answer)
                yield self._admitted(answer, asked[0][0] if asked else None)
            yield from self._heads(asked, "failed" if wanted else "warning")
            if self._target.account and not self._session.account_sent:
                words = f"{self._target.name} has asked for no account: {self._target.key('username')} was not tried"
                yield Step("credentials", "warning", words, self._advice())
        except Failed as failed:
            yield failed.step

    def _greet(self, headers: Mapping[str, str]) -> requests.Response:
        return self._session.send("GET", self._target.url.rstrip("/") + "/v2/", headers, "asked for /v2/")

    def _asked(self, step: str, ask: Callable[[], _T]) -> _T:
        """Return what ``ask`` returns in time. Raises Failed, and the errors that are answers."""
        with self._explained(step):
            return bounded(self._patience, f"asked {self._target.name}", ask, _discard)

    @contextlib.contextmanager
    def _explained(self, step: str) -> Iterator[None]:
        """Turn the errors inside that are no answers into Failed."""
        target = self._target
        try:
            yield
        except UpstreamError as error:
            whom = f"{target.name}'s token server" if step == "token" else target.name
            told = tls_failure(error, whom, target.keys, target.ca)
            if told:
                raise Failed("TLS" if step == "answer" else step, *told) from None
            raise Failed(step, error.message, self._remedy(error)) from None

    def _remedy(self, error: UpstreamError) -> str:
        if "tokenrealms" in error.message:
            return f"the key is {self._target.key('tokenrealms')}"
        if "credential helper" in error.message:
            return HELPER_REMEDY
        if self._target.proxy and not isinstance(error, UpstreamTimeout):
            return f"if the proxy is to blame, check {self._target.key('httpproxy')}, its user and password too"
        return WAIT

    def _trusted(self) -> str:
        if self._target.insecure:
            return f"encrypted, but no certificate is compared: {self._target.key('insecure')} is set"
        return f"the certificate of {self._target.name} is trusted"

    def _judged(self, answer: requests.Response) -> Step:
        """Return the step of an answer to ``/v2/`` that only a registry gives."""
        status, name = answer.status_code, self._target.name
        if status == 429:
            raise self._limited("answer", errors.retry_after(answer))
        if status >= 500:
            raise Failed("answer", f"{name} is up but failing: it answered {status} to /v2/", WAIT)
        if status == 403:
            raise Failed("answer", f"{name} refuses this machine: it answered 403 to /v2/", f"ask who runs {name}")
        if status == 401 and _challenges(answer):
            return Step("answer", "ok", f"{name} is a registry that wants to know who asks")
        page = " with a web page" if answer.headers.get("Content-Type", "").lower().startswith("text/html") else ""
        if status != 200 or page:
            words = f"{name} answered {status} to /v2/{page}: that is no registry"
            raise Failed("answer", words, f"check {self._target.key('remoteurl')}")
        return Step("answer", "ok", f"{name} is a registry")

    def _admitted(self, answer: requests.Response, repository: Repository | None) -> Step:
        """Return the step of the answer's challenge, met as well as we can."""
        if answer.status_code != 401:
            return Step("credentials", "ok", f"{self._target.name} has asked for none so far")
        if "bearer" in _challenges(answer):
            return self._token(answer, repository)
        return self._password(answer)

    def _token(self, answer: requests.Response, repository: Repository | None) -> Step:
        if repository is None and not self._target.account:
            words = "a token is for one repository, and none was named"
            return Step("token", "skipped", words, self._advice())
        if self._met("token", answer, repository) is None:
            raise Failed("token", f"{self._target.name} has sent no challenge that this cache can meet")
        if self._auth.trouble:
            # The server would go on without an account; whoever set up a helper wants to know that it fails.
            raise Failed("token", self._auth.trouble, HELPER_REMEDY)
        if repository is None:
            return Step("token", "ok", f"{self._target.name} accepts the account of {self._target.key('username')}")
        whose = f"for the account of {self._target.key('username')}" if self._target.account else "without an account"
        return Step("token", "ok", f"{self._target.name} gives one for {repository} {whose}")

    def _password(self, answer: requests.Response) -> Step:
        authorization = self._met("credentials", answer, None)
        if authorization is None and self._auth.trouble:
            raise Failed("credentials", self._auth.trouble, HELPER_REMEDY)
        if authorization is None:
            remedy = f"set {self._target.key('username')} and {self._target.key('password')}"
            raise Failed("credentials", f"{self._target.name} wants a user and a password", remedy)
        with self._asked("credentials", lambda: self._greet({"Authorization": authorization})) as second:
            self._unless_refused("credentials")
            if second.status_code != 200:
                raise Failed("credentials", f"{self._target.name} answered {second.status_code} to the account", WAIT)
        return Step("credentials", "ok", f"{self._target.name} accepts the account")

    def _met(self, step: str, answer: requests.Response, repository: Repository | None) -> str | None:
        """Return an Authorization that meets the challenge of ``answer``; None where we have none. Raises Failed."""
        try:
            authorization = self._asked(step, lambda: self._auth.learn(repository, answer, None))
        except TooManyRequests as error:
            raise self._limited(step, error.retry_after) from None
        except RegistryError:
            self._unless_refused(step)
            what = repository or "the account"
            raise Failed(step, f"the token server gives none for {what}", self._permission()) from None
        self._unless_refused(step)
        return authorization

    def _unless_refused(self, step: str) -> None:
        if self._session.account_refused:
            remedy = f"check {self._target.key('username')} and {self._target.key('password')}"
            raise Failed(step, "the account was refused", remedy)

    def _heads(self, wanted: Wanted, absent: State) -> Iterator[Step]:
        """``absent``: what it is that one of them cannot be read."""
        if not wanted:
            yield Step("manifest", "skipped", "none was named", self._advice())
        health = Health(self._target.name, self._board)
        upstream = Upstream(self._target.name, self._target.url, self._session, self._auth, health)
        for repository, reference in wanted:
            try:
                yield self._head(upstream, repository, reference, absent)
            except Failed as failed:
                yield failed.step
        if left := self._board.known.words():
            yield Step("rate limit", "ok", left)

    def _head(self, upstream: Upstream, repository: Repository, reference: Reference, absent: State) -> Step:
        named = f"{repository}:{reference}" if isinstance(reference, Tag) else f"{repository}@{reference}"
        try:
            with self._explained("manifest"):
                found = upstream.head_manifest(repository, reference, self._patience)
        except TooManyRequests as error:
            raise self._limited("manifest", error.retry_after) from None
        except NotFound as error:
            raise Failed("manifest", error.message, "check how it is written", absent) from None
        except Denied:
            self._unless_refused("credentials")
            words = f"{self._target.name} does not let this cache read {named}: it is private or does not exist"
            raise Failed("manifest", words, self._permission(), absent) from None
        self._unless_refused("credentials")
        if found.digest is None:
            words = f"{self._target.name} does not tell the digest of {named}: each look at a tag costs a pull"
            return Step("manifest", "ok", words)
        return Step("manifest", "ok", f"{named} is {found.digest}")

    def _limited(self, step: str, wait: float | None) -> Failed:
        known = self._board.known.words()
        words = f"{self._target.name} limits this cache" + (f": {known}" if known else "")
        remedy = "try again " + ("later" if wait is None else f"in {wait:.0f} s")
        if not self._target.account:
            remedy += f"; an account has a limit of its own: {self._target.key('username')}"
        return Failed(step, words, remedy)

    def _permission(self) -> str:
        if self._target.account:
            return f"check its name, and give the account of {self._target.key('username')} access to it"
        keys = f"{self._target.key('username')} and {self._target.key('password')}"
        return f"check its name, or set {keys} to an account that may read it"

    def _advice(self) -> str:
        return f"registry-cache check {self._target.name}/REPOSITORY:TAG"


def _challenges(answer: requests.Response) -> set[str]:
    """Return the schemes of the challenges in ``answer``."""
    return {each.scheme for each in parse_challenges(answer.raw.headers.getlist("WWW-Authenticate"))}


def _discard(late: object) -> None:
    if isinstance(late, requests.Response):
        late.close()
