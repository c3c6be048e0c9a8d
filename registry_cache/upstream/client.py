"""One registry, asked by the OCI distribution spec: manifests, blobs, tags, referrers.

Bytes are returned as they are on the wire; the caller compares them to their digest. Every method raises UpstreamError
and its kinds, Denied, TooManyRequests, and NotFound of the kind that was asked for, in bounded time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import requests

from registry_cache.errors import (
    DigestInvalid,
    RegistryError,
    UpstreamDown,
    UpstreamElsewhere,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from registry_cache.oci import media_types, signed_manifest
from registry_cache.oci.byte_range import parse_content_range
from registry_cache.oci.digest import Digest
from registry_cache.oci.json_object import parse_object
from registry_cache.oci.manifest import MAX_MANIFEST_SIZE, is_manifest
from registry_cache.oci.names import Reference, Repository, Tag
from registry_cache.upstream import registry_api, transport
from registry_cache.upstream.blob_addresses import Blob, BlobAddresses
from registry_cache.upstream.blob_body import BlobBody, blob_body, serves_range
from registry_cache.upstream.body import content_length, encoding_of, read_document, timed_out
from registry_cache.upstream.encoded_blobs import EncodedBlobs
from registry_cache.upstream.errors import is_unreachable
from registry_cache.upstream.heads import HeadMemory
from registry_cache.upstream.health import Health
from registry_cache.upstream.large_documents import LargeDocuments, LargeTurn
from registry_cache.upstream.links import NextPage
from registry_cache.upstream.refusal import is_page
from registry_cache.upstream.tag_lists import MAX_LIST_SIZE, TagLists, TagPage, following
from registry_cache.upstream.transport import HeadRefused, Transport

# "fill": ranges, and then the rest; "hold": ranges alone; "off": always the whole.
Lazy = Literal["fill", "hold", "off"]

# Pages of referrers that are put together, and how many bytes they may have in all; more are left out.
MAX_REFERRERS_PAGES = 100
MAX_REFERRERS_SIZE = 4 * 1024 * 1024

# For the body of a manifest or a list, all its pages together: 4 MiB over a slow line.
DOCUMENT_TIMEOUT_SECONDS = 60.0

# The digest of nothing.
EMPTY = Digest.of(b"")


@dataclass(frozen=True, slots=True)
class ManifestHead:
    """What upstream claims about a manifest; None and "" where it does not say. ``refusal``: the HEAD was refused in
    a way that does not tell what a GET would be told; this is what it says if it does.
    """

    digest: Digest | None = None
    media_type: str = ""
    size: int | None = None
    refusal: RegistryError | None = None


@dataclass(frozen=True, slots=True)
class ManifestBody:
    """A manifest's bytes, its Content-Type and the digest that upstream claims, not compared to anything yet."""

    data: bytes
    media_type: str
    claimed: Digest | None = None


class Upstream:
    """The registry that ``transport`` asks; ``name`` stands for it in paths, logs and messages.

    ``blob_requests``: how many requests at once may fetch one blob. ``layers_ahead``: whether an image's other layers
    are fetched once one of them is asked for. ``lazy``: whether ranges of blobs that are not here are fetched by
    themselves, and the rest behind them.
    """

    def __init__(
        self, transport: Transport, blob_requests: int = 1, layers_ahead: bool = False, lazy: Lazy = "off"
    ) -> None:
        self.name = transport.name
        self.health: Health = transport.health
        self.transport = transport
        self.blob_requests = blob_requests
        self.layers_ahead = layers_ahead
        self.lazy: Lazy = lazy
        self.heads = HeadMemory(transport.name)
        self.addresses = BlobAddresses()
        self.encoded = EncodedBlobs()
        self.large = LargeDocuments()
        # One at a time: parsed, a list of 8 MiB takes some times that.
        self._large_lists = LargeDocuments(1)
        self._tag_lists = TagLists(transport, self._large_lists)

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
        question = registry_api.about_manifest(
            "HEAD", repository, reference, has_copy=has_copy, is_retry=is_retry, timeout_seconds=timeout_seconds
        )
        if self.heads.are_useless("manifests"):
            return ManifestHead(self._remembered(repository, reference, "", has_copy=has_copy))
        try:
            with self.transport.ask(question) as response:
                etag = response.headers.get("ETag", "")
                claimed = self.heads.unless_vain(repository, reference, _claimed_digest(response))
                # A type that any file may have says nothing.
                media_type = media_types.of_manifest(response.headers.get("Content-Type"))
                media_type = media_type if media_types.is_known(media_type) else ""
                size = self.heads.plausible_length(_size_of_body(response), etag)
        except HeadRefused as refused:
            self.heads.record_refusal("manifests", question.path, is_trouble=_is_trouble(refused))
            digest = self._remembered(repository, reference, "", has_copy=has_copy)
            return ManifestHead(digest, refusal=refused.error)
        self.heads.record_etag(repository, reference, etag)
        return ManifestHead(
            claimed or self._remembered(repository, reference, etag, has_copy=has_copy), media_type, size
        )

    def _remembered(self, repository: Repository, reference: Reference, etag: str, *, has_copy: bool) -> Digest | None:
        """Return what a GET has said of a tag, which a HEAD does not; None where there is no copy to serve for it."""
        return self.heads.digest_of(repository, reference, etag) if has_copy else None

    def get_manifest(
        self,
        repository: Repository,
        reference: Reference,
        *,
        has_copy: bool = False,
        is_retry: bool = False,
        follows_head: bool = False,
        turn: LargeTurn | None = None,
    ) -> ManifestBody:
        """Fetch a manifest; Docker Hub counts it. UpstreamError for one over 4 MiB. A large one takes its ``turn``.

        ``follows_head``: a HEAD for it has just failed.
        """
        if self.health.claim_look():
            # It costs nothing, and its answer may end a limit that would stop the GET.
            with contextlib.suppress(RegistryError):
                self.head_manifest(repository, reference, is_retry=True)
        question = registry_api.about_manifest("GET", repository, reference, has_copy=has_copy, is_retry=is_retry)
        follows_head = follows_head or self.heads.was_refused("manifests", question.path)
        question = replace(question, follows_head=follows_head)
        with self.transport.ask(question) as response:
            what = f"the manifest {question.what}"
            data = read_document(self.name, what, response, MAX_MANIFEST_SIZE, DOCUMENT_TIMEOUT_SECONDS, turn=turn)
            body = ManifestBody(data, response.headers.get("Content-Type", ""), _claimed_digest(response))
            self.heads.record_get("manifests", question.path)
            if not _is_proven(reference, data):
                self.transport.refuse_inside(question, response)
            if isinstance(reference, Tag) and (digest := _vouched_digest(body)):
                self.heads.record_tag(repository, reference, digest, response.headers.get("ETag", ""))
            return body

    def head_blob(self, repository: Repository, digest: Digest) -> int | None:
        """Return the size of a blob of the repository, None where upstream does not say."""
        if not self.heads.are_useless("blobs"):
            try:
                with self.transport.ask(registry_api.head_blob(repository, digest)) as response:
                    size = 0 if digest == EMPTY else _size_of_body(response)
                    return None if self.transport.session.is_inside(response) else size
            except HeadRefused as refused:
                self.heads.record_refusal("blobs", digest, is_trouble=_is_trouble(refused))
            except UpstreamUnavailable as error:
                return self._size_after_failed_head(repository, digest, error)
        size = self.blob_size(repository, digest)
        self.heads.record_get("blobs", digest)
        return size

    def _size_after_failed_head(self, repository: Repository, digest: Digest, error: UpstreamUnavailable) -> int | None:
        """Return what ``head_blob`` does where HEADs may be all that fails there (P72); raise ``error`` otherwise."""
        if isinstance(error, UpstreamDown | UpstreamElsewhere) or is_unreachable(error):
            raise error
        self.heads.record_refusal("blobs", digest, is_trouble=True)
        try:
            size = self.blob_size(repository, digest, is_retry=True)
        except (UpstreamUnavailable, UpstreamTimeout):
            raise error from None
        self.heads.record_get("blobs", digest)
        return size

    def blob_size(self, repository: Repository, digest: Digest, *, is_retry: bool = False) -> int | None:
        """Return what ``head_blob`` returns, by a GET of one byte."""
        with self.transport.ask(registry_api.get_blob(repository, digest, 0, 1, is_retry=is_retry)) as response:
            if response.status_code in registry_api.NO_RANGES:
                return self._whole_size(repository, digest)
            if self.transport.session.is_inside(response):
                return None
            if is_page(response):
                raise UpstreamError(f"{self.name} sent a web page for the blob {digest}")
            if response.status_code != 206:
                # An empty blob has no first byte; whoever ignores a range tells the whole length.
                return 0 if response.status_code == 416 else _size_of_body(response, may_be_empty=True)
            part = parse_content_range(response.headers.get("Content-Range"))
            return part[2] if part and not encoding_of(response) else None

    def _whole_size(self, repository: Repository, digest: Digest) -> int | None:
        with self.transport.ask(registry_api.get_blob(repository, digest, is_retry=True)) as response:
            is_hidden = self.transport.session.is_inside(response) or is_page(response)
            return None if is_hidden else _size_of_body(response)

    def open_blob(
        self,
        repository: Repository,
        digest: Digest,
        start: int = 0,
        stop: int | None = None,
        *,
        is_retry: bool = False,
        expected: Callable[[], int | None] = lambda: None,
    ) -> BlobBody:
        """Start to fetch a blob from byte ``start`` on (P36), up to ``stop`` if upstream minds. Close what is returned.

        A blob's beginning is always asked of the registry; what follows, for a while, where that sent us. ``expected``:
        its size in bytes, as far as anybody knows.
        """
        blob, asked = self._blob(repository, digest), start
        question = registry_api.get_blob(repository, digest, start, stop, is_retry=is_retry)
        response = self._ask_known_address(repository, digest, question, start) or self.transport.ask(question)
        reading = self.encoded.reading(blob, response, expected)
        has_no_ranges = reading is not None and reading.decodes and response.status_code == 206
        if has_no_ranges or not serves_range(response, start):
            # The whole, skipped up to ``start``, can always be used.
            response.close()
            asked = 0
            response = self.transport.ask(registry_api.get_blob(repository, digest, is_retry=is_retry))
            reading = self.encoded.reading(blob, response, expected)
        body = blob_body(self.name, digest, response, start, asked, stop, reading)
        body.is_inside = self.transport.session.is_inside(response)
        body.is_guess, body.is_blind = (
            reading is not None and reading.is_guess,
            reading is not None and reading.is_blind,
        )
        body.on_broken = partial(self.forget_address, repository, digest)
        self._note_address(repository, digest, response)
        return body

    def record_wrong_blob(self, repository: Repository, digest: Digest) -> None:
        """The bytes were not the blob: fetch it in another way, where there is one."""
        self.forget_address(repository, digest)
        self.encoded.record_wrong(self._blob(repository, digest))

    def forget_address(self, repository: Repository, digest: Digest) -> None:
        """Ask the registry for the next range of a blob, wherever it sent us before."""
        self.addresses.forget(self._blob(repository, digest))

    def _blob(self, repository: Repository, digest: Digest) -> Blob:
        return self.transport.auth.account.name, repository, digest

    def _ask_known_address(
        self, repository: Repository, digest: Digest, question: registry_api.Question, start: int
    ) -> requests.Response | None:
        blob = self._blob(repository, digest)
        address = self.addresses.find(blob) if start else None
        response = self.transport.ask_at(question, address) if address else None
        if response and serves_range(response, start):
            return response
        if response:
            response.close()
        if address:
            self.addresses.refuse(blob)
        return None

    def _note_address(self, repository: Repository, digest: Digest, response: requests.Response) -> None:
        address = self.transport.session.address_of(response) if response.status_code == 206 else None
        if address:
            self.addresses.remember(self._blob(repository, digest), address)

    def list_tags(
        self, repository: Repository, count: int | None, last: str | None, *, has_copy: bool = False
    ) -> TagPage:
        """Return the tags behind ``last``, about ``count``. ``has_copy``: there is something to serve instead."""
        return self._tag_lists.page(repository, count, last, has_copy=has_copy)

    def referrers(
        self, repository: Repository, digest: Digest, *, has_copy: bool = False
    ) -> list[dict[str, object]] | None:
        """Return the descriptors of all that refers to ``digest``; None where upstream has no referrers API.

        ``has_copy``: there is something to serve instead. All pages together may take as long as one document, and
        those behind MAX_REFERRERS_SIZE are left out.
        """
        deadline = time.monotonic() + DOCUMENT_TIMEOUT_SECONDS
        found: list[dict[str, object]] = []
        place, size = NextPage(str(digest)), 0
        for _ in range(MAX_REFERRERS_PAGES):
            page, behind, page_size = self._referrers_page(repository, digest, place, deadline, has_copy=has_copy)
            if page is None:
                return None
            size += page_size
            if found and size > MAX_REFERRERS_SIZE:
                break
            found += page
            # A link to the page that it stands on leads nowhere.
            if behind is None or behind == place or size > MAX_REFERRERS_SIZE:
                break
            place = behind
        return found

    def _referrers_page(
        self, repository: Repository, digest: Digest, place: NextPage, deadline: float, *, has_copy: bool
    ) -> tuple[list[dict[str, object]] | None, NextPage | None, int]:
        """Return the descriptors of one page, None without a referrers API, the next page, and the bytes."""
        left = deadline - time.monotonic()
        answer_seconds = min(left, transport.ANSWER_TIMEOUT_SECONDS)
        question = registry_api.list_referrers(
            repository, digest, place, has_copy=has_copy, timeout_seconds=answer_seconds
        )
        if left <= 0:
            raise timed_out(self.name, f"asked for {question.what}", DOCUMENT_TIMEOUT_SECONDS)
        with self.transport.ask(question) as response:
            self.transport.refuse_inside(question, response, is_list=True)
            if response.status_code in registry_api.NO_REFERRERS_API:
                return None, None, 0
            with self._large_lists.turn() as turn:
                data = read_document(self.name, question.what, response, MAX_LIST_SIZE, left, turn=turn)
                document = parse_object(data)
            behind = following(response, "referrers", str(digest))
        manifests = document.get("manifests") if document else None
        if not isinstance(manifests, list):
            # Some registries answer requests that they do not know with a web page.
            return None, None, 0
        return [each for each in manifests if isinstance(each, dict)], behind, len(data)


def _is_trouble(refused: HeadRefused) -> bool:
    """Whether it was a 5xx, and no deliberate answer."""
    return isinstance(refused.error, UpstreamError)


def _is_proven(reference: Reference, data: bytes) -> bool:
    """Whether ``data`` is what was asked for by itself, whoever sent it."""
    return is_manifest(data) if isinstance(reference, Tag) else signed_manifest.is_named(data, reference)


def _claimed_digest(response: requests.Response) -> Digest | None:
    try:
        digest = Digest.parse(response.headers.get("Docker-Content-Digest", ""))
    except DigestInvalid:
        return None
    # What an answer to a HEAD has for a body, which is no manifest.
    return digest if digest != EMPTY else None


def _vouched_digest(body: ManifestBody) -> Digest | None:
    """Return the digest of what a GET brought, if it is what upstream says, or a manifest by itself; None otherwise."""
    if body.claimed:
        return body.claimed if signed_manifest.is_named(body.data, body.claimed) else None
    return signed_manifest.digest_of(body.data) if is_manifest(body.data, body.media_type) else None


def _size_of_body(response: requests.Response, *, may_be_empty: bool = False) -> int | None:
    """Return the size of what a HEAD is about; None where the length is of something else.

    A HEAD that was not thought of has a length of nothing, and one that is encoded has that of what is sent.
    """
    size = None if encoding_of(response) else content_length(response)
    return size if size or may_be_empty else None
