"""Ask a registry one question: with authorization, within its time, and with a note of what that says of its health."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import requests

from registry_cache.errors import (
    BlobUnknown,
    Denied,
    NameUnknown,
    NotFound,
    RegistryError,
    TooManyRequests,
    UpstreamElsewhere,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from registry_cache.runtime import metrics
from registry_cache.upstream.blob_addresses import BlobAddress
from registry_cache.upstream.credentials.account import is_account
from registry_cache.upstream.credentials.auth import Authenticator
from registry_cache.upstream.credentials.conversation import Conversation
from registry_cache.upstream.deadline import run_with_timeout
from registry_cache.upstream.errors import is_unreachable
from registry_cache.upstream.health import Health
from registry_cache.upstream.network.url import Origin, is_at, origin, parse_url
from registry_cache.upstream.rate_limits import burst_wait
from registry_cache.upstream.refusal import refusal, retry_after, says_nothing
from registry_cache.upstream.registry_api import Question, api_repository
from registry_cache.upstream.session import HttpRequest, Session

# Until an answer must have begun, token and redirects included; clients give up after ten seconds or more.
ANSWER_TIMEOUT_SECONDS = 8.0
# The same of a place where we were sent before; if it says nothing, the registry is asked.
KNOWN_ADDRESS_TIMEOUT_SECONDS = 3.0
# A blob that is refused for asking too fast is asked for again so often.
BURST_TRIES = 2


class HeadRefused(Exception):
    """A HEAD was refused in a way that does not tell what a GET would be told. ``error`` is what it says if it does."""

    def __init__(self, error: RegistryError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(slots=True)
class Transport:
    """Asks the registry ``name`` at ``remote_url``. ``http_redirects``: whether blobs may come by plain http where it
    redirects there from https.
    """

    name: str
    remote_url: str
    session: Session
    auth: Authenticator
    health: Health
    http_redirects: bool = False
    _home: Origin = field(init=False)

    def __post_init__(self) -> None:
        self._home = origin(self.remote_url)

    def ask(self, question: Question) -> requests.Response:
        """Return a response that answers ``question``, its body unread: close it. Raise what any other means.

        Raises HeadRefused where only a GET tells.
        """
        if not question.is_retry:
            self.health.admit(
                counted=question.counted,
                has_copy=question.has_copy,
                about=question.subject,
                follows_head=question.follows_head,
            )
        response = self._ask(question)
        for _ in range(BURST_TRIES):
            wait = _burst_wait(question, response)
            if wait is None:
                break
            response.close()
            time.sleep(wait)
            response = self._ask(question)
        if question.counted and response.status_code < 400:
            account = self.auth.account
            metrics.count_limited_request(self.name, "" if account.is_missing else account.name)
        return self._answer(question, response)

    def _ask(self, question: Question) -> requests.Response:
        """Return a response to ``question``, whatever it says. Raise where there is none."""
        was_redirected = threading.Event()
        seconds = ANSWER_TIMEOUT_SECONDS if question.timeout_seconds is None else question.timeout_seconds
        began, status = time.monotonic(), None
        try:
            response = run_with_timeout(
                seconds,
                f"asked {self.name} for {question.what}",
                lambda: self._converse(question, was_redirected),
                requests.Response.close,
            )
            status = response.status_code
            return response
        except RegistryError as error:
            raise self._failure(question, error, was_redirected.is_set()) from error.__cause__
        finally:
            metrics.count_upstream_request(self.name, question.method, status, time.monotonic() - began)

    def ask_at(self, question: Question, address: BlobAddress) -> requests.Response | None:
        """Return what the place that the registry sent us to before says; None unless that is a part of a blob.

        It says nothing of the registry's health. No authorization goes there.
        """
        began, status, what = time.monotonic(), None, _asking(question)
        request = HttpRequest(
            question.method,
            address.url,
            question.headers,
            what,
            allow_http=self.http_redirects,
            reach=address.reach,
            home=self._home,
        )
        try:
            response = run_with_timeout(
                KNOWN_ADDRESS_TIMEOUT_SECONDS,
                what,
                lambda: self.session.send(request),
                requests.Response.close,
            )
            status = response.status_code
        except RegistryError:
            return None
        finally:
            metrics.count_upstream_request(self.name, question.method, status, time.monotonic() - began)
        if status == 206:
            return response
        response.close()
        return None

    def refuse_inside(self, question: Question, response: requests.Response, *, is_list: bool = False) -> None:
        """Raise UpstreamElsewhere where nothing shows that ``response`` is for clients, who may not see its network.

        A list (``is_list``) can be told by where it is that it is a registry's.
        """
        if self.session.is_inside(response) and not (is_list and self._is_registry(response)):
            raise self.session.elsewhere(_asking(question))

    def inside_error(self, what: str) -> UpstreamElsewhere:
        """Return the error for ``what``, asked for, that a place inside our network did not bring."""
        return self.session.elsewhere(f"asked for {what}")

    def _converse(self, question: Question, was_redirected: threading.Event) -> requests.Response:
        """Return the registry's response, after meeting challenges as well as we can."""
        conversation = Conversation(self.auth, question.repository)
        while True:
            response = self._send(question, conversation.authorizations, was_redirected)
            try:
                goes_on = conversation.go_on(response)
            except BaseException:
                response.close()
                raise
            if not goes_on:
                return response
            response.close()

    def _send(
        self, question: Question, authorizations: Mapping[Origin, str], was_redirected: threading.Event
    ) -> requests.Response:
        is_blob = question.missing is BlobUnknown
        return self.session.send(
            HttpRequest(
                question.method,
                f"{self.remote_url.rstrip('/')}/v2/{question.path}",
                question.headers,
                _asking(question),
                # A blob's body may pause for as long as the operator says; a client waits for the rest of a manifest.
                read_timeout_seconds=None if is_blob else ANSWER_TIMEOUT_SECONDS,
                on_redirect=was_redirected.set,
                authorizations=dict(authorizations),
                # A blob is proven by its digest, a tag by nothing.
                allow_http=self.http_redirects and is_blob,
            )
        )

    def _is_registry(self, response: requests.Response) -> bool:
        """Whether the registry answered, or another one that it redirected to, and not a content server."""
        return is_at(origin(response.url), self._home) or api_repository(response.url) is not None

    def _failure(self, question: Question, error: RegistryError, was_redirected: bool) -> RegistryError:
        """Note that there is no response, and return the error to raise."""
        if isinstance(error, TooManyRequests):
            # The token server's: the registry's own would be a response.
            self.health.record_token_limit(error)
        if isinstance(error, UpstreamTimeout) and was_redirected:
            # The registry has answered; where it redirected to is silent.
            error = self.session.elsewhere(_asking(question))
        error = self._unless_in_trouble(error)
        self._record(question, error)
        return error

    def _answer(self, question: Question, response: requests.Response) -> requests.Response:
        """Note what ``response`` says of the registry's health; raise what it means unless it is an answer."""
        is_home, is_registry = is_at(origin(response.url), self._home), self._is_registry(response)
        if is_home:
            # Whoever a registry redirects one name to, and the path looks like a registry's, must not stop all others.
            self.health.record_limits(response, counted=question.counted)
        is_refused_head = question.method == "HEAD" and says_nothing(response, is_registry=is_registry)
        if (200 <= response.status_code < 300 and not is_refused_head) or response.status_code in question.answers:
            self._record(question, None)
            return response
        with response:
            error = refusal(self.name, question.what, response, question.missing)
        if isinstance(error, Denied) and is_registry and not is_home:
            error = self._denied_elsewhere(question, response)
        if not is_registry:
            # The registry said yes and redirected: a failure there, such as an address that has expired, says nothing
            # about the thing itself.
            error = UpstreamElsewhere(f"the content server of {self.name} answered {response.status_code}")
        if self.session.is_inside(response) and not isinstance(error, NotFound | Denied | TooManyRequests):
            error = self.session.elsewhere(_asking(question))
        error = self._unless_in_trouble(error)
        if _says_expired(response, error):
            # As trouble of ours it ends no access to copies.
            error = UpstreamElsewhere(error.message)
        if is_refused_head:
            # The breaker is told what becomes of the GET that follows.
            raise HeadRefused(error)
        self._record(question, error)
        raise self.health.explain(error, has_copy=question.has_copy) if is_home else error

    def _denied_elsewhere(self, question: Question, response: requests.Response) -> Denied:
        """Return the error where another registry, that ours redirects to, refuses what it would show to an account."""
        url = parse_url(response.url)
        where, remedy = url.host, f"; the operator can write remoteurl: {replace(url, target='')} for one"
        if self.session.is_inside(response):
            where, remedy = "a private address", ""
        refused = f"{where}, where {self.name} redirects, refused access to {question.what}"
        return Denied(f"{refused}: it is private or does not exist, and no account is sent there{remedy}")

    def _unless_in_trouble(self, error: RegistryError) -> RegistryError:
        """Return ``error``, but for a denial what keeps us from having an account: then a copy may be served."""
        trouble = self.auth.account.trouble
        return UpstreamElsewhere(trouble) if isinstance(error, Denied) and trouble else error

    def _record(self, question: Question, error: RegistryError | None) -> None:
        """Tell the breaker what came of a question.

        Only silence and 5xx of the registry itself are failures: a 400 or 451 about one name, which a client chose, and
        a broken content server say nothing about other names. Nor do retries of one download, nor lists: a registry
        whose lists fail may have every manifest and blob.
        """
        is_silent = isinstance(error, UpstreamUnavailable | UpstreamTimeout) and not isinstance(
            error, UpstreamElsewhere
        )
        if not is_silent:
            self.health.record_answer(question.subject)
        elif isinstance(error, UpstreamError) and not question.is_retry and question.missing is not NameUnknown:
            self.health.record_failure(error, None if is_unreachable(error) else question.subject)


def _burst_wait(question: Question, response: requests.Response) -> float | None:
    """Return the seconds after which to ask for a blob again that was refused for asking too fast; None for no more."""
    is_refused = question.missing is BlobUnknown and response.status_code == 429
    return burst_wait(retry_after(response)) if is_refused else None


def _asking(question: Question) -> str:
    return f"asked for {question.what}"


def _says_expired(response: requests.Response, error: RegistryError) -> bool:
    """Whether our account was sent, and refused because its password has expired (P70)."""
    sent = response.request.headers.get("Authorization", "")
    return response.status_code in (400, 401, 403) and is_account(sent) and "expired" in error.message.lower()
