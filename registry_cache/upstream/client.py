"""One registry, asked by the OCI distribution spec: manifests, blobs, tags, referrers.

Bytes are returned as they are on the wire; the caller compares them to their digest. Every method raises UpstreamError
and its kinds, Denied, TooManyRequests, and NotFound of the kind that was asked for, in bounded time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import requests

from registry_cache.errors import DigestInvalid, UpstreamError
from registry_cache.oci import media_types
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import MAX_MANIFEST_SIZE
from registry_cache.oci.names import Reference, Repository
from registry_cache.upstream import questions, transport
from registry_cache.upstream.blob_body import BlobBody, blob_body, serves_range
from registry_cache.upstream.body import content_length, json_object, read_document, timed_out
from registry_cache.upstream.health import Health
from registry_cache.upstream.transport import Transport

# A page of tags or referrers: Docker Hub's longest list of tags is under 2 MB.
MAX_LIST_SIZE = 8 * 1024 * 1024
# Pages of referrers that are put together; more are left out.
MAX_REFERRERS_PAGES = 100

# For the body of a manifest or a list, all its pages together: 4 MiB over a slow line.
DOCUMENT_TIMEOUT_SECONDS = 60.0


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
class TagPage:
    """Some tags, and the last of them if upstream has more behind it."""

    names: list[str]
    last: str | None


class Upstream:
    """The registry that ``transport`` asks; ``name`` stands for it in paths, logs and messages.

    ``blob_requests``: how many requests at once may fetch one blob. ``layers_ahead``: whether an image's other layers
    are fetched once one of them is asked for.
    """

    def __init__(self, transport: Transport, blob_requests: int = 1, layers_ahead: bool = False) -> None:
        self.name = transport.name
        self.health: Health = transport.health
        self.transport = transport
        self.blob_requests = blob_requests
        self.layers_ahead = layers_ahead

    def head_manifest(
        self,
        repository: Repository,
        reference: Reference,
        timeout_seconds: float | None = None,
        *,
        has_copy: bool = False,
        is_retry: bool = False,
    ) -> ManifestHead:
        """Ask what ``reference`` means; Docker Hub does not count it (P24). What upstream leaves out is None (P33).

        ``timeout_seconds``: less than usual, for a hurried caller. ``has_copy``: there is something to serve instead.
        """
        question = questions.about_manifest(
            "HEAD", repository, reference, has_copy=has_copy, is_retry=is_retry, timeout_seconds=timeout_seconds
        )
        with self.transport.ask(question) as response:
            if response.status_code >= 400:
                return ManifestHead(None, "", None)
            media_type = media_types.without_parameters(response.headers.get("Content-Type"))
            return ManifestHead(_claimed_digest(response), media_type, content_length(response))

    def get_manifest(
        self, repository: Repository, reference: Reference, *, has_copy: bool = False, is_retry: bool = False
    ) -> ManifestBody:
        """Fetch a manifest; Docker Hub counts it. UpstreamError for one over 4 MiB."""
        question = questions.about_manifest("GET", repository, reference, has_copy=has_copy, is_retry=is_retry)
        with self.transport.ask(question) as response:
            what = f"the manifest {question.what}"
            data = read_document(self.name, what, response, MAX_MANIFEST_SIZE, DOCUMENT_TIMEOUT_SECONDS)
            return ManifestBody(data, response.headers.get("Content-Type", ""), _claimed_digest(response))

    def head_blob(self, repository: Repository, digest: Digest) -> int | None:
        """Return the size of a blob of the repository, None where upstream does not say."""
        with self.transport.ask(questions.head_blob(repository, digest)) as response:
            if 200 <= response.status_code < 300:
                return content_length(response)
        return self.blob_size(repository, digest)

    def blob_size(self, repository: Repository, digest: Digest) -> int | None:
        """Return what ``head_blob`` returns, by a GET whose body is left unread."""
        with self.transport.ask(questions.get_blob(repository, digest)) as response:
            return content_length(response)

    def open_blob(
        self, repository: Repository, digest: Digest, start: int = 0, stop: int | None = None, *, is_retry: bool = False
    ) -> BlobBody:
        """Start to fetch a blob from byte ``start`` on (P36), up to ``stop`` if upstream minds. Close what is returned.

        Always asks the registry, never the place that it last redirected to: that address may have expired.
        """
        asked = start
        response = self.transport.ask(questions.get_blob(repository, digest, start, stop, is_retry=is_retry))
        if not serves_range(response, start):
            # The whole, skipped up to ``start``, can always be used.
            response.close()
            asked = 0
            response = self.transport.ask(questions.get_blob(repository, digest, is_retry=is_retry))
        return blob_body(self.name, digest, response, start, asked, stop)

    def list_tags(
        self, repository: Repository, count: int | None, last: str | None, *, has_copy: bool = False
    ) -> TagPage:
        """Return a page of tags as upstream cuts it. ``has_copy``: there is something to serve instead."""
        question = questions.list_tags(repository, count, last, has_copy=has_copy)
        with self.transport.ask(question) as response:
            data = read_document(self.name, question.what, response, MAX_LIST_SIZE, DOCUMENT_TIMEOUT_SECONDS)
            next_query = _next_query(response)
        document = json_object(data)
        if document is None:
            raise UpstreamError(f"{self.name}'s answer for {question.what} is no JSON object")
        listed = document.get("tags")
        # JSON can hold half a character; the URL of a next page cannot.
        tags = [tag for tag in listed if isinstance(tag, str) and tag.isprintable()] if isinstance(listed, list) else []
        if not tags or next_query is None:
            return TagPage(tags, None)
        return TagPage(tags, parse_qs(next_query).get("last", tags[-1:])[0])

    def referrers(
        self, repository: Repository, digest: Digest, *, has_copy: bool = False
    ) -> list[dict[str, object]] | None:
        """Return the descriptors of all that refers to ``digest``; None where upstream has no referrers API.

        ``has_copy``: there is something to serve instead. All pages together may take as long as one document.
        """
        deadline = time.monotonic() + DOCUMENT_TIMEOUT_SECONDS
        found: list[dict[str, object]] = []
        query = ""
        for _ in range(MAX_REFERRERS_PAGES):
            page, following = self._referrers_page(repository, digest, query, deadline, has_copy=has_copy)
            if page is None:
                return None
            found += page
            # A link to the page that it stands on leads nowhere.
            if following is None or following == query:
                break
            query = following
        return found

    def _referrers_page(
        self, repository: Repository, digest: Digest, query: str, deadline: float, *, has_copy: bool
    ) -> tuple[list[dict[str, object]] | None, str | None]:
        """Return the descriptors of one page, None without a referrers API, and the query of the next page."""
        left = deadline - time.monotonic()
        answer_seconds = min(left, transport.ANSWER_TIMEOUT_SECONDS)
        question = questions.list_referrers(
            repository, digest, query, has_copy=has_copy, timeout_seconds=answer_seconds
        )
        if left <= 0:
            raise timed_out(self.name, f"asked for {question.what}", DOCUMENT_TIMEOUT_SECONDS)
        with self.transport.ask(question) as response:
            if response.status_code in questions.NO_REFERRERS_API:
                return None, None
            document = json_object(read_document(self.name, question.what, response, MAX_LIST_SIZE, left))
            next_query = _next_query(response)
        manifests = document.get("manifests") if document else None
        if not isinstance(manifests, list):
            # Some registries answer requests that they do not know with a web page.
            return None, None
        return [each for each in manifests if isinstance(each, dict)], next_query


def _claimed_digest(response: requests.Response) -> Digest | None:
    try:
        return Digest.parse(response.headers.get("Docker-Content-Digest", ""))
    except DigestInvalid:
        return None


def _next_query(response: requests.Response) -> str | None:
    """Return the query of a ``Link: <…>; rel="next"`` header; None without one (RFC 8288)."""
    link = response.links.get("next", {}).get("url")
    try:
        return (urlsplit(link).query or None) if link else None
    except ValueError:
        return None
