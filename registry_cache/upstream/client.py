"""One registry, asked by the OCI distribution spec: manifests, blobs, tags, referrers.

Bytes come as they are on the wire; comparing them to their digest is the caller's. Every method raises UpstreamError
and its kinds, Denied, TooManyRequests, and NotFound of the kind that was asked for, in bounded time.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import requests

from registry_cache.errors import (
    BlobUnknown,
    Denied,
    DigestInvalid,
    ManifestUnknown,
    NameUnknown,
    NotFound,
    RegistryError,
    TooManyRequests,
    UpstreamDown,
    UpstreamElsewhere,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from registry_cache.oci import media_types
from registry_cache.oci.byte_range import parse_content_range
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import MAX_MANIFEST_SIZE
from registry_cache.oci.names import Reference, Repository, Tag
from registry_cache.runtime import metrics
from registry_cache.upstream import errors
from registry_cache.upstream.auth import Authenticator, is_account
from registry_cache.upstream.deadline import bounded
from registry_cache.upstream.health import Health
from registry_cache.upstream.read_size import LEAST, Portion
from registry_cache.upstream.session import Session, origin
from registry_cache.upstream.tcp_ack import AHEAD, acknowledge

# A page of tags or referrers: Docker Hub's longest list of tags is under 2 MB.
MAX_LIST_SIZE = 8 * 1024 * 1024
# Pages of referrers that are put together; more are left out.
MAX_REFERRERS_PAGES = 100

# Seconds until an answer must have begun, token and redirects included; clients give up after ten or more.
ANSWER_SECONDS = 8.0
# Seconds for the body of a manifest or a list, all its pages together: 4 MiB over a thin line.
DOCUMENT_SECONDS = 60.0

# A registry that knows no HEAD says nothing by these; only a GET tells.
_UNSAID = (405, 501)
# What registries without a referrers API answer; the spec knows 404 alone.
_NO_REFERRERS = (400, 404, 405, 406, 501)


@dataclass(frozen=True, slots=True)
class ManifestHead:
    """What upstream claims about a manifest; None where it does not say."""

    digest: Digest | None
    media_type: str
    size: int | None


@dataclass(frozen=True, slots=True)
class ManifestBody:
    """A manifest's bytes, its Content-Type and the digest that upstream claims, not compared to anything yet."""

    data: bytes
    media_type: str
    claimed: Digest | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some names, and the last of them if upstream has more behind it."""

    names: list[str]
    last: str | None


class BlobBody:
    """A blob on its way, from byte ``start`` on; ``size`` of the whole in bytes, None where upstream does not say.

    Close it; iterate it once. The bytes may end early, and may be wrong. ``skip`` bytes of the response come before
    ``start``; without a response there are none behind it. ``stop``: where a response ends that says so.
    """

    def __init__(
        self,
        name: str,
        response: requests.Response | None,
        start: int,
        size: int | None,
        skip: int = 0,
        stop: int | None = None,
    ) -> None:
        self._name = name
        self._response = response
        self._skip = skip
        self._portion = Portion()
        self._ahead = False
        self.start = start
        self.size = size
        self.stop = stop

    def __iter__(self) -> Iterator[bytes]:
        """Yield bytes as they arrive. Raises UpstreamUnavailable where the connection breaks, UpstreamTimeout."""
        skip = self._skip
        while chunk := self._read():
            if skip >= len(chunk):
                skip -= len(chunk)
                continue
            yield chunk[skip:] if skip else chunk
            skip = 0

    def close(self) -> None:
        self._portion.close()
        if self._response is not None:
            self._response.close()

    def _read(self) -> bytes:
        if self._response is None:
            return b""
        if self._ahead:
            acknowledge(self._response, 1)
        # read1 gives what is there; read would wait for the whole portion while a client waits for the first byte.
        with errors.reporting(self._name, "read a blob"):
            data = bytes(self._response.raw.read1(self._portion.size, decode_content=False))
        self._portion.brought(len(data))
        self._ahead = bool(data) and self._portion.size > LEAST
        if self._ahead:
            acknowledge(self._response, AHEAD)
        metrics.fetched(self._name, len(data))
        return data


@dataclass(frozen=True, slots=True)
class _Question:
    """A request and what its answers mean. ``what`` names the thing asked for, ``missing`` is what a 404 means.

    Statuses among ``answers`` are no errors; with ``unsaid_elsewhere``, none is that comes from where the registry has
    sent us on to. ``counted``: upstream counts it as a pull. ``has_copy``: there is something to serve instead.
    ``seconds``: until its answer must have begun. ``insist``: a further try, for the caller to bound.
    """

    method: str
    repository: Repository
    path: str
    what: str
    missing: type[NotFound]
    headers: Mapping[str, str] = field(default_factory=dict)
    answers: tuple[int, ...] = ()
    unsaid_elsewhere: bool = False
    counted: bool = False
    has_copy: bool = False
    seconds: float | None = None
    insist: bool = False


class Upstream:
    """One registry. ``name`` stands for it in paths, logs and messages; ``remote_url`` is where it is.

    ``blob_requests``: so many at once at most for one blob. ``layers_ahead``: whether an image's other layers are
    fetched once one of them is asked for.
    """

    def __init__(
        self,
        name: str,
        remote_url: str,
        session: Session,
        auth: Authenticator,
        health: Health,
        blob_requests: int = 1,
        layers_ahead: bool = False,
    ) -> None:
        self.name = name
        self.blob_requests = blob_requests
        self.layers_ahead = layers_ahead
        self._base = remote_url.rstrip("/") + "/v2/"
        self._home = origin(remote_url)
        self._session = session
        self._auth = auth
        self._health = health

    def outlook(self) -> UpstreamDown | None:
        """Return why who has a copy should not wait for an answer now; None where it may come in time.

        It has a ``retry_after`` where upstream must not be asked either.
        """
        return self._health.outlook()

    def in_time(self) -> None:
        """Take note that an answer came in the time for which those who have a copy wait."""
        self._health.in_time()

    def too_late(self, error: UpstreamError) -> None:
        """Take note that somebody who has a copy waited in vain."""
        self._health.too_late(error)

    def head_manifest(
        self,
        repository: Repository,
        reference: Reference,
        seconds: float | None = None,
        *,
        has_copy: bool = False,
        insist: bool = False,
    ) -> ManifestHead:
        """Ask what ``reference`` means; not counted by Docker Hub (P24). What upstream leaves out is None (P33).

        ``seconds`` until the answer must be there, for who is in a hurry. ``has_copy``: there is something to serve
        instead.
        """
        with self._send(_manifest_question("HEAD", repository, reference, seconds, has_copy, insist)) as response:
            if response.status_code >= 400:
                return ManifestHead(None, "", None)
            return ManifestHead(
                digest=_claimed_digest(response),
                media_type=media_types.without_parameters(response.headers.get("Content-Type")),
                size=_length(response),
            )

    def get_manifest(
        self, repository: Repository, reference: Reference, *, has_copy: bool = False, insist: bool = False
    ) -> ManifestBody:
        """Fetch a manifest; counted by Docker Hub. UpstreamError for one over 4 MiB."""
        question = _manifest_question("GET", repository, reference, None, has_copy, insist)
        with self._send(question) as response:
            data = self._body(response, f"the manifest {question.what}", MAX_MANIFEST_SIZE)
            return ManifestBody(data, response.headers.get("Content-Type", ""), _claimed_digest(response))

    def head_blob(self, repository: Repository, digest: Digest) -> int | None:
        """Return the size of a blob of the repository, None where upstream does not say."""
        with self._send(_blob_question("HEAD", repository, digest)) as response:
            if 200 <= response.status_code < 300:
                return _length(response)
        # Who refuses a HEAD, such as by a redirect that is signed for a GET alone, says nothing by it.
        return self.blob_size(repository, digest)

    def blob_size(self, repository: Repository, digest: Digest) -> int | None:
        """Return what ``head_blob`` returns, as a GET tells it whose body is left unread."""
        with self._send(_blob_question("GET", repository, digest)) as response:
            return _length(response)

    def open_blob(
        self, repository: Repository, digest: Digest, start: int = 0, stop: int | None = None, *, insist: bool = False
    ) -> BlobBody:
        """Start to fetch a blob from byte ``start`` on (P36), up to ``stop`` if upstream minds. Close what is returned.

        Always asked of the registry, never of the place it last redirected to: that address may have expired.
        """
        asked = start
        response = self._send(_blob_question("GET", repository, digest, start, stop, insist))
        elsewhere = response.status_code == 206 and not _continues(response, start)
        if elsewhere or (response.status_code == 416 and not start):
            # Bytes from elsewhere would spoil what is there; the whole, passed over up to ``start``, cannot. And who
            # has no first byte to give has none at all, or is confused by ranges.
            response.close()
            asked = 0
            response = self._send(_blob_question("GET", repository, digest, insist=insist))
        length = _length(response)
        if response.status_code == 206:
            part = parse_content_range(response.headers.get("Content-Range"))
            if part is None or part[0] != asked:
                response.close()
                raise UpstreamError(f"{self.name} answered another range than from {asked} for {digest}")
            # Without a whole size, one that was asked for all says it by its length.
            rest = None if length is None or stop is not None else asked + length
            size = rest if part[2] is None else part[2]
            return BlobBody(self.name, response, start, size, skip=start - asked, stop=part[1])
        if response.status_code == 416:
            # Nothing behind ``start``: what we have may be the whole, and the digest decides.
            response.close()
            return BlobBody(self.name, None, start, start)
        # The range was ignored: everything comes again, and what we have is passed over.
        return BlobBody(self.name, response, start, length, skip=start)

    def list_tags(self, repository: Repository, count: int | None, last: str | None, *, has_copy: bool = False) -> Page:
        """Return a page of tags as upstream cuts it. ``has_copy``: there is something to serve instead."""
        query = urlencode([(key, value) for key, value in (("n", count), ("last", last)) if value is not None])
        path = f"{repository}/tags/list" + ("?" + query if query else "")
        what = f"the tags of {repository}"
        with self._send(_Question("GET", repository, path, what, NameUnknown, has_copy=has_copy)) as response:
            document = _json_object(self._body(response, what, MAX_LIST_SIZE))
            if document is None:
                raise UpstreamError(f"{self.name}'s answer for {what} is no JSON object")
            tags = document.get("tags")
            # JSON can write half a character; no URL of a next page can.
            listed = tags if isinstance(tags, list) else []
            names = [tag for tag in listed if isinstance(tag, str) and tag.isprintable()]
            following = _next_query(response) if names else None
            return Page(names, parse_qs(following).get("last", names[-1:])[0] if following else None)

    def referrers(
        self, repository: Repository, digest: Digest, *, has_copy: bool = False
    ) -> list[dict[str, object]] | None:
        """Return the descriptors of all that refers to ``digest``; None where upstream has no referrers API.

        ``has_copy``: there is something to serve instead. All pages together are waited for as long as one document.
        """
        path = base = f"{repository}/referrers/{digest}"
        what = f"the referrers of {digest} in {repository}"
        deadline = time.monotonic() + DOCUMENT_SECONDS
        found: list[dict[str, object]] = []
        for _ in range(MAX_REFERRERS_PAGES):
            left = deadline - time.monotonic()
            if left <= 0:
                raise UpstreamTimeout(f"{self.name} took more than {DOCUMENT_SECONDS:g} s for {what}")
            question = _Question(
                "GET",
                repository,
                path,
                what,
                NameUnknown,
                headers={"Accept": media_types.OCI_INDEX},
                answers=_NO_REFERRERS,
                has_copy=has_copy,
                seconds=min(left, ANSWER_SECONDS),
            )
            with self._send(question) as response:
                if response.status_code in _NO_REFERRERS:
                    return None
                document = _json_object(self._body(response, what, MAX_LIST_SIZE, left))
                manifests = document.get("manifests") if document else None
                if not isinstance(manifests, list):
                    # Such as a web page, by which some registries answer whatever they do not know.
                    return None
                found += [each for each in manifests if isinstance(each, dict)]
                query = _next_query(response)
            following = f"{base}?{query}"
            if query is None or following == path:
                break
            path = following
        return found

    def _send(self, question: _Question) -> requests.Response:
        """Return a response that is an answer to ``question``; raise what any other means."""
        if not question.insist:
            self._health.admit(counted=question.counted, has_copy=question.has_copy)
        doing = f"asked for {question.what}"
        sent_on = threading.Event()
        began, status = time.monotonic(), None
        try:
            response = bounded(
                ANSWER_SECONDS if question.seconds is None else question.seconds,
                f"asked {self.name} for {question.what}",
                lambda: self._answer(question, doing, sent_on.set),
                requests.Response.close,
            )
            status = response.status_code
        except RegistryError as error:
            if isinstance(error, TooManyRequests):
                # Only the token server's can be raised there: the registry's own is still a response.
                self._health.throttled(error)
            if isinstance(error, UpstreamTimeout) and sent_on.is_set():
                # The registry has answered; who is silent is the place that it sent us on to.
                error = UpstreamElsewhere(error.message)
            error = self._explained(error)
            self._note(question, error)
            raise error from error.__cause__
        finally:
            metrics.asked(self.name, question.method, status, time.monotonic() - began)
        return self._judged(question, response)

    def _answer(self, question: _Question, doing: str, sent_on: Callable[[], None]) -> requests.Response:
        """Return the registry's response, after its challenge was met as well as we can.

        ``sent_on`` is called where it redirects to another origin.
        """
        authorization = self._auth.header(question.repository)
        response = self._authorized(question, authorization, doing, sent_on)
        if self._challenges(response):
            with response:
                answer = self._auth.learn(question.repository, response, authorization)
                if answer is None:
                    raise errors.refusal(self.name, question.what, response, question.missing)
            response = self._authorized(question, answer, doing, sent_on)
            if is_account(answer) and self._challenges(response):
                with response:
                    other = self._auth.refused(answer)
                response = self._authorized(question, other, doing, sent_on)
        return response

    def _challenges(self, response: requests.Response) -> bool:
        """Tell whether the registry itself wants to know who asks."""
        return response.status_code == 401 and origin(response.url) == self._home

    def _authorized(
        self, question: _Question, authorization: str | None, doing: str, sent_on: Callable[[], None]
    ) -> requests.Response:
        headers = {**question.headers, "Authorization": authorization} if authorization else question.headers
        # A blob's body may pause for as long as the operator says; the rest of a manifest is awaited by a client.
        silence = None if question.missing is BlobUnknown else ANSWER_SECONDS
        return self._session.send(question.method, self._base + question.path, headers, doing, silence, sent_on)

    def _judged(self, question: _Question, response: requests.Response) -> requests.Response:
        home = origin(response.url) == self._home
        if home:
            self._health.seen(response, counted=question.counted)
        unsaid = question.unsaid_elsewhere and not home
        if 200 <= response.status_code < 300 or response.status_code in question.answers or unsaid:
            self._note(question, None)
            return response
        with response:
            error = errors.refusal(self.name, question.what, response, question.missing)
            if not home:
                # The registry said yes and sent us on: what goes wrong there, such as an address that has expired, is
                # no answer about the thing itself.
                error = UpstreamElsewhere(f"the content server of {self.name} answered {response.status_code}")
        error = self._explained(error)
        self._note(question, error)
        raise self._health.refusal(error, has_copy=question.has_copy)

    def _explained(self, error: RegistryError) -> RegistryError:
        """Return ``error``, and instead of a denial what keeps us from having an account: then a copy may be served."""
        trouble = self._auth.trouble
        return UpstreamElsewhere(trouble) if isinstance(error, Denied) and trouble else error

    def _note(self, question: _Question, error: RegistryError | None) -> None:
        """Tell the breaker what came of a question.

        Only silence and 5xx of the registry itself are failures: a 400 or 451 about one name, which a client chose, and
        a broken content server say nothing about other names. Nor do further tries of one download, nor lists: a
        registry whose lists fail may have every manifest and blob.
        """
        silent = isinstance(error, UpstreamUnavailable | UpstreamTimeout) and not isinstance(error, UpstreamElsewhere)
        if not silent:
            self._health.answered()
        elif isinstance(error, UpstreamError) and not question.insist and question.missing is not NameUnknown:
            self._health.failed(error)

    def _body(self, response: requests.Response, what: str, limit: int, seconds: float | None = None) -> bytes:
        data = errors.read_body(self.name, f"read {what}", response, limit + 1, seconds or DOCUMENT_SECONDS)
        metrics.fetched(self.name, len(data))
        if len(data) > limit:
            raise UpstreamError(f"{what} is over {limit // 2**20} MiB at {self.name}: more than this cache takes")
        length = _length(response)
        if length is not None and len(data) != length and not response.headers.get("Content-Encoding"):
            raise UpstreamUnavailable(f"{self.name} sent {len(data)} of {length} bytes of {what}")
        return data


def _blob_question(
    method: str, repository: Repository, digest: Digest, start: int = 0, stop: int | None = None, insist: bool = False
) -> _Question:
    last, ranged = "" if stop is None else stop - 1, bool(start) or stop is not None
    answers = (416,) if ranged else ()
    return _Question(
        method,
        repository,
        f"{repository}/blobs/{digest}",
        f"the blob {digest} of {repository}",
        BlobUnknown,
        headers={"Range": f"bytes={start}-{last}"} if ranged else {},
        answers=_UNSAID if method == "HEAD" else answers,
        unsaid_elsewhere=method == "HEAD",
        insist=insist,
    )


def _continues(response: requests.Response, start: int) -> bool:
    """Tell whether a 206 begins where it was asked to."""
    part = parse_content_range(response.headers.get("Content-Range"))
    return part is not None and part[0] == start


def _manifest_question(
    method: str, repository: Repository, reference: Reference, seconds: float | None, has_copy: bool, insist: bool
) -> _Question:
    return _Question(
        method,
        repository,
        f"{repository}/manifests/{reference}",
        f"{repository}:{reference}" if isinstance(reference, Tag) else f"{repository}@{reference}",
        ManifestUnknown,
        headers={"Accept": media_types.ACCEPT_MANIFEST},
        answers=_UNSAID if method == "HEAD" else (),
        counted=method == "GET",
        has_copy=has_copy,
        seconds=seconds,
        insist=insist,
    )


def _claimed_digest(response: requests.Response) -> Digest | None:
    try:
        return Digest.parse(response.headers.get("Docker-Content-Digest", ""))
    except DigestInvalid:
        return None


def _length(response: requests.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _json_object(data: bytes) -> Mapping[str, Any] | None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _next_query(response: requests.Response) -> str | None:
    """Return the query of a ``Link: <…>; rel="next"`` header; None without one (RFC 8288)."""
    link = response.links.get("next", {}).get("url")
    try:
        return (urlsplit(link).query or None) if link else None
    except ValueError:
        return None
