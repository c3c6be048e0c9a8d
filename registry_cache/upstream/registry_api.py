"""The requests that a registry is asked, and what each answer to them means. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from registry_cache.errors import BlobUnknown, ManifestUnknown, NameUnknown, NotFound
from registry_cache.oci import media_types
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Reference, Repository, Tag
from registry_cache.upstream.breakers import Subject
from registry_cache.upstream.links import NextPage
from registry_cache.upstream.network.url import parse_url

# Behind the first /v2/. Looked for by the pattern as well, a path of nothing else would take half a second.
_API_PATH = re.compile(r"(.+)/(?:manifests|blobs|tags|referrers)/")
# How registries without a referrers API answer; the spec has 404 alone.
NO_REFERRERS_API = (400, 404, 405, 406, 501)

# How a range is refused, by the registry or by what stands in front of it, which may give the whole all the same.
NO_RANGES = (400, 405, 501)

# How registries refuse to list so many tags at once, ECR by 405, and what stands in front of them; or fail over it.
TOO_MANY_TAGS = (400, 403, 405, 406, 413, 414, 416, 422, 500)


@dataclass(frozen=True, slots=True)
class Question:
    """A request and what its answers mean.

    ``what`` names the thing asked for, ``missing`` is the error for a 404. Responses with one of the ``answers``'
    statuses are returned like successful ones. ``counted``: upstream counts it as a pull. ``has_copy``: there is
    something to serve instead. ``timeout_seconds``: until the answer begins, where that is shorter than usual.
    ``is_retry``: the breaker is neither asked nor told, the caller bounds how often it tries. ``follows_head``: a HEAD
    that the breaker has let through was refused, and this asks the same.
    """

    method: str
    repository: Repository
    path: str
    what: str
    missing: type[NotFound]
    headers: Mapping[str, str] = field(default_factory=dict)
    answers: tuple[int, ...] = ()
    counted: bool = False
    has_copy: bool = False
    timeout_seconds: float | None = None
    is_retry: bool = False
    follows_head: bool = False

    @property
    def subject(self) -> Subject:
        return Subject(str(self.repository), self.path)


def about_manifest(
    method: str,
    repository: Repository,
    reference: Reference,
    *,
    has_copy: bool,
    is_retry: bool,
    timeout_seconds: float | None = None,
) -> Question:
    """Return the HEAD or GET of a manifest."""
    return Question(
        method,
        repository,
        Subject.manifest(repository, reference).name,
        f"{repository}:{reference}" if isinstance(reference, Tag) else f"{repository}@{reference}",
        ManifestUnknown,
        headers={"Accept": media_types.ACCEPT_MANIFEST},
        counted=method == "GET",
        has_copy=has_copy,
        timeout_seconds=timeout_seconds,
        is_retry=is_retry,
    )


def head_blob(repository: Repository, digest: Digest) -> Question:
    """Return the HEAD of a blob."""
    what = f"the blob {digest} of {repository}"
    return Question("HEAD", repository, f"{repository}/blobs/{digest}", what, BlobUnknown)


def get_blob(
    repository: Repository, digest: Digest, start: int = 0, stop: int | None = None, *, is_retry: bool = False
) -> Question:
    """Return the GET of a blob, or of its bytes from ``start`` up to, not including, ``stop``."""
    last = "" if stop is None else stop - 1
    has_range = bool(start) or stop is not None
    return Question(
        "GET",
        repository,
        f"{repository}/blobs/{digest}",
        f"the blob {digest} of {repository}",
        BlobUnknown,
        headers={"Range": f"bytes={start}-{last}"} if has_range else {},
        answers=(416, *NO_RANGES) if has_range else (),
        is_retry=is_retry,
    )


def list_tags(repository: Repository, place: NextPage, *, has_copy: bool) -> Question:
    """Return the GET of a page of tags."""
    answers = TOO_MANY_TAGS if without_count(place.query) != place.query else ()
    path = f"{repository}/tags/{place.tail}" + ("?" + place.query if place.query else "")
    return Question(
        "GET", repository, path, f"the tags of {repository}", NameUnknown, answers=answers, has_copy=has_copy
    )


def tags_query(count: int | None, last: str | None) -> str:
    return urlencode([(key, value) for key, value in (("n", count), ("last", last)) if value is not None])


def without_count(query: str) -> str:
    """Return ``query`` without the number of tags that it asks for."""
    return "&".join(each for each in query.split("&") if not each.startswith("n="))


def list_referrers(
    repository: Repository, digest: Digest, place: NextPage, *, has_copy: bool, timeout_seconds: float
) -> Question:
    """Return the GET of a page of the referrers of ``digest``."""
    return Question(
        "GET",
        repository,
        f"{repository}/referrers/{place.tail}" + ("?" + place.query if place.query else ""),
        f"the referrers of {digest} in {repository}",
        NameUnknown,
        headers={"Accept": media_types.OCI_INDEX},
        answers=NO_REFERRERS_API,
        has_copy=has_copy,
        timeout_seconds=timeout_seconds,
    )


def api_repository(url: str) -> str | None:
    """Return the repository that ``url`` is about, if it is one of a registry's API; None for any other."""
    match = _API_PATH.match(parse_url(url).path.partition("/v2/")[2])
    return match[1] if match else None
