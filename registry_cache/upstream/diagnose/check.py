"""Check one upstream step by step, asking it as the server would.

No step is a pull that a registry counts: ``/v2/``, a token, and a HEAD of a manifest. A rate limit that is met here is
not noted for the server, but one that is over is. Each step is bounded in time; a step that fails ends those that need
it.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import requests
import urllib3

from registry_cache.errors import Denied, NotFound, RegistryError, TooManyRequests, UpstreamElsewhere, UpstreamError
from registry_cache.oci.names import Reference, Repository, Tag
from registry_cache.runtime.check_step import Step, StepState
from registry_cache.upstream.client import Upstream
from registry_cache.upstream.credentials.account import Account, is_account
from registry_cache.upstream.credentials.auth import Authenticator, challenges_of
from registry_cache.upstream.deadline import run_with_timeout
from registry_cache.upstream.diagnose.connectivity import Connectivity, Resolve
from registry_cache.upstream.diagnose.findings import HELPER_REMEDY, Findings
from registry_cache.upstream.diagnose.steps import WAIT, CheckTarget, StepFailed
from registry_cache.upstream.health import Health, PrivateHealth
from registry_cache.upstream.network.zones import Reach
from registry_cache.upstream.refusal import retry_after
from registry_cache.upstream.session import HttpRequest, Session
from registry_cache.upstream.transport import Transport

# For each step; a little more than the server itself waits for an answer to begin.
STEP_TIMEOUT_SECONDS = 10.0

_T = TypeVar("_T")
Wanted = Sequence[tuple[Repository, Reference]]


class _AccountWatch(Session):
    """A session that notes whether our account was sent and refused: an Authenticator then goes on anonymously."""

    def __init__(self, session: Session) -> None:
        # Not a session of its own: what is tried is what the server uses.
        self._session = session
        self.account_sent = False
        self.account_refused = False

    def send(self, request: HttpRequest) -> requests.Response:
        response = self._session.send(request)
        if is_account(request.headers.get("Authorization", "")):
            self.account_sent = True
            self.account_refused |= response.status_code in (401, 403)
        return response

    def reach_from(self, response: requests.Response) -> Reach:
        return self._session.reach_from(response)

    def is_inside(self, response: requests.Response) -> bool:
        """Return False: the operator may know."""
        return False

    def elsewhere(self, what: str) -> UpstreamElsewhere:
        return self._session.elsewhere(what)


class UpstreamCheck:
    """The steps of one upstream. ``resolve`` is socket.getaddrinfo except in tests."""

    def __init__(
        self,
        target: CheckTarget,
        session: Session,
        account: Account,
        resolve: Resolve | None = None,
        timeout_seconds: float = STEP_TIMEOUT_SECONDS,
        lift_limit: Callable[[], bool] = lambda: False,
    ) -> None:
        """``lift_limit``: forget the limit that the server knows of; return whether there was one."""
        self._target = target
        self._findings = Findings(target)
        self._session = _AccountWatch(session)
        self._auth = Authenticator(target.name, target.url, self._session, account, target.realms)
        self._health = PrivateHealth()
        self._connectivity = Connectivity(target, resolve or socket.getaddrinfo, timeout_seconds)
        self._timeout = timeout_seconds
        self._lift_limit = lift_limit
        if target.insecure:
            # The operator asked for it; a warning would stand between our lines.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def run(self, wanted: Wanted, sample: Wanted = ()) -> Iterator[Step]:
        """Yield each step when it is done; the last ones are a HEAD of each manifest that is ``wanted``.

        If none is wanted, of those in ``sample``, which may be gone by now.
        """
        asked = wanted or sample
        try:
            yield from self._connectivity.steps()
            with self._ask("answer", lambda: self._get_base({})) as answer:
                if self._target.url.startswith("https:"):
                    yield self._findings.tls()
                yield self._answer_step(answer)
                yield self._challenge_step(answer, asked[0][0] if asked else None)
            yield from self._manifest_steps(asked, "failed" if wanted else "warning")
            if self._target.account and not self._session.account_sent:
                yield self._findings.unused_account()
        except StepFailed as failed:
            yield failed.step

    def _get_base(self, headers: dict[str, str]) -> requests.Response:
        url = self._target.url.rstrip("/") + "/v2/"
        return self._session.send(HttpRequest("GET", url, headers, "asked for /v2/"))

    def _ask(self, step: str, work: Callable[[], _T]) -> _T:
        """Return what ``work`` returns in time. Raises StepFailed, and the errors that are answers."""
        with self._explain(step):
            return run_with_timeout(self._timeout, f"asked {self._target.name}", work, _close)

    @contextlib.contextmanager
    def _explain(self, step: str) -> Iterator[None]:
        """Turn the errors inside that are no answers into StepFailed."""
        try:
            yield
        except UpstreamError as error:
            raise self._findings.no_answer(step, error) from None

    def _answer_step(self, answer: requests.Response) -> Step:
        if answer.status_code == 429:
            raise self._limited("answer", retry_after(answer))
        is_page = answer.headers.get("Content-Type", "").lower().startswith("text/html")
        return self._findings.answer(answer.status_code, has_challenge=bool(challenges_of(answer)), is_page=is_page)

    def _challenge_step(self, answer: requests.Response, repository: Repository | None) -> Step:
        """Meet the challenge in ``answer``, if it has one."""
        if answer.status_code != 401:
            return Step("credentials", "ok", f"{self._target.name} has asked for none so far")
        if any(challenge.scheme == "bearer" for challenge in challenges_of(answer)):
            return self._token_step(answer, repository)
        return self._password_step(answer)

    def _token_step(self, answer: requests.Response, repository: Repository | None) -> Step:
        if repository is None and not self._target.account:
            words = "a token is for one repository, and none was named"
            return Step("token", "skipped", words, self._findings.example)
        if self._meet_challenge("token", answer, repository) is None:
            raise StepFailed("token", f"{self._target.name} has sent no challenge that this cache can meet")
        # The server would go on without an account; whoever set up a helper wants to know that it fails.
        self._raise_helper_trouble("token")
        return self._findings.token(repository)

    def _password_step(self, answer: requests.Response) -> Step:
        authorization = self._meet_challenge("credentials", answer, None)
        if authorization is None:
            self._raise_helper_trouble("credentials")
            raise self._findings.no_password()
        with self._ask("credentials", lambda: self._get_base({"Authorization": authorization})) as second:
            self._raise_account_refused("credentials")
            if second.status_code != 200:
                words = f"{self._target.name} answered {second.status_code} to the account"
                raise StepFailed("credentials", words, WAIT)
        return Step("credentials", "ok", f"{self._target.name} accepts the account")

    def _meet_challenge(self, step: str, answer: requests.Response, repository: Repository | None) -> str | None:
        """Return an Authorization that meets the challenge; None where we have none. Raises StepFailed."""
        try:
            authorization = self._ask(step, lambda: self._auth.meet_challenge(repository, answer, None))
        except TooManyRequests as error:
            raise self._limited(step, error.retry_after) from None
        except RegistryError:
            self._raise_account_refused(step)
            raise self._findings.refused_token(repository) from None
        self._raise_account_refused(step)
        return authorization

    def _raise_account_refused(self, step: str) -> None:
        if self._session.account_refused:
            raise self._findings.refused_account(step)

    def _raise_helper_trouble(self, step: str) -> None:
        if self._auth.account.trouble:
            raise StepFailed(step, self._auth.account.trouble, HELPER_REMEDY)

    def _manifest_steps(self, wanted: Wanted, state: StepState) -> Iterator[Step]:
        """``state`` is that of a manifest which cannot be read."""
        if not wanted:
            yield Step("manifest", "skipped", "none was named", self._findings.example)
        name, health = self._target.name, Health(self._target.name, self._health)
        upstream = Upstream(Transport(name, self._target.url, self._session, self._auth, health))
        has_answer = False
        for repository, reference in wanted:
            try:
                yield self._manifest_step(upstream, repository, reference, state)
                has_answer = True
            except StepFailed as failed:
                yield failed.step
        if left := self._health.known.words():
            yield self._findings.limit(left, is_used_up=self._health.known.remaining == 0)
        if has_answer and self._health.known.remaining != 0 and self._lift_limit():
            yield Step("rate limit", "ok", f"{name} answers again: the server asks it from now on")

    def _manifest_step(
        self, upstream: Upstream, repository: Repository, reference: Reference, state: StepState
    ) -> Step:
        manifest = f"{repository}:{reference}" if isinstance(reference, Tag) else f"{repository}@{reference}"
        try:
            with self._explain("manifest"):
                head = upstream.head_manifest(repository, reference, self._timeout)
                if isinstance(head.refusal, Denied | UpstreamError):
                    raise head.refusal
        except TooManyRequests as error:
            raise self._limited("manifest", error.retry_after) from None
        except NotFound as error:
            raise StepFailed("manifest", error.message, "check how it is written", state) from None
        except Denied:
            self._raise_account_refused("credentials")
            raise self._findings.denied(manifest, state) from None
        self._raise_account_refused("credentials")
        if head.digest is None:
            words = f"{self._target.name} does not tell the digest of {manifest}: each look at a tag costs a pull"
            return Step("manifest", "ok", words)
        return Step("manifest", "ok", f"{manifest} is {head.digest}")

    def _limited(self, step: str, wait: float | None) -> StepFailed:
        return self._findings.limited(step, self._health.known.words(), wait)


def _close(late: object) -> None:
    if isinstance(late, requests.Response):
        late.close()
