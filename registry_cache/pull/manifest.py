"""The pull of a manifest: by digest, which never changes, or by tag, which upstream is asked about.

TAG     fresh (tag_max_age)                      → HIT           upstream is not asked
        HEAD: the digest that we have            → REVALIDATED   at no counted pull
        HEAD: another digest                     → MISS          GET that digest, never the tag again (P28)
        404                                      → the tag is forgotten
        429, 5xx, silence                        → STALE if there is a copy, else the error
        slower than who has a copy waits         → STALE         the work goes on; the next pull finds its fruit
        down, or slow of late                    → STALE         at once; upstream is asked behind
        401, 403                                 → Denied: an answer, not an outage; the copy stays on the disk
DIGEST  known to the repository                  → HIT           never revalidated
        brought by another repository            → MISS          HEAD proves our access; nothing is fetched
        otherwise                                → MISS          GET
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from registry_cache.errors import (
    Denied,
    ManifestUnknown,
    NotFound,
    RegistryError,
    StoreError,
    TooManyRequests,
    UpstreamCorrupt,
    UpstreamDown,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from registry_cache.oci import media_types
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import is_object, parse_manifest
from registry_cache.oci.names import Reference, Repository, Tag
from registry_cache.policy.freshness import Freshness, decide
from registry_cache.pull.outcome import Outcome
from registry_cache.pull.single_flight import MachineFlights, NoteFormat, TimeLimit
from registry_cache.runtime import metrics
from registry_cache.runtime.log import Log
from registry_cache.store.records import Records, StoredManifest, TagRecord
from registry_cache.upstream.client import ManifestBody, ManifestHead, Upstream
from registry_cache.upstream.deadline import run_with_timeout

# Seconds before a failed question is asked once more, and how soon it must have failed for that: two long failures
# would last longer than clients wait.
_PAUSE = (0.1, 0.4)
_MOMENT = 1.0

# A confirmation is kept where the last one is older: each makes every worker read the record anew. Less than a
# ``max_age`` of any use, which would end before it is kept.
_LATELY = timedelta(seconds=0.1)

# What a captive portal, or a registry under maintenance, answers to anything, with a 200.
_PAGE = "text/html"

_T = TypeVar("_T")

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class TagPolicy:
    """``max_age``: how long a tag is served without asking; ``patience``: seconds to wait where there is a copy."""

    max_age: timedelta = timedelta(0)
    patience: float = 2.0


@dataclass(frozen=True, slots=True)
class ManifestAnswer:
    """What a manifest request gets. ``data`` is None for a HEAD of what is not here; ``size`` in bytes.

    ``checked_at`` is when upstream last confirmed the tag, for a stale or fresh one; ``reason`` is why it is stale.
    """

    outcome: Outcome
    digest: Digest
    media_type: str
    size: int
    data: bytes | None = None
    checked_at: datetime | None = None
    reason: str | None = None


class ManifestPull:
    """Pulls of manifests, for every upstream over one store."""

    def __init__(
        self,
        records: Records,
        flights: MachineFlights,
        clock: Callable[[], datetime],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pause = pause
        self._records = records
        self._flights = flights
        self._clock = clock

    def get(self, upstream: Upstream, repository: Repository, reference: Reference, tags: TagPolicy) -> ManifestAnswer:
        """Return the manifest with its bytes. Raises every kind of RegistryError that upstream's answer may mean."""
        if isinstance(reference, Tag):
            return self._by_tag(upstream, repository, reference, tags, self._fetch_once)
        return self._by_digest(upstream, repository, reference, self._fetch_once)

    def head(self, upstream: Upstream, repository: Repository, reference: Reference, tags: TagPolicy) -> ManifestAnswer:
        """Return what is known of the manifest; asks upstream for what is not here, and downloads nothing."""
        if isinstance(reference, Tag):
            return self._by_tag(upstream, repository, reference, tags, self._ask_digest)
        return self._by_digest(upstream, repository, reference, self._ask_digest)

    def _by_digest(self, upstream: Upstream, repository: Repository, digest: Digest, absent: _Absent) -> ManifestAnswer:
        stored = self._stored(upstream, repository, digest)
        return _answer(Outcome.HIT, stored) if stored else absent(upstream, repository, digest, None)

    def _by_tag(
        self, upstream: Upstream, repository: Repository, tag: Tag, tags: TagPolicy, absent: _Absent
    ) -> ManifestAnswer:
        record = self._tag(upstream, repository, tag)
        stored = self._stored(upstream, repository, record.digest) if record else None
        copy = stored or self._previous(upstream, repository, record)
        if record is None or copy is None:
            return self._moved(upstream, repository, tag, self._resolve(upstream, repository, tag), absent)
        if stored and decide(record.checked_at, self._clock(), tags.max_age) is Freshness.FRESH:
            return replace(_answer(Outcome.HIT, stored), checked_at=record.checked_at)

        try:
            answer = self._renewed(upstream, repository, tag, tags, stored, absent)
        except (NotFound, Denied) as error:
            metrics.revalidated(upstream.name, "gone" if isinstance(error, NotFound) else "denied")
            raise
        except (TooManyRequests, UpstreamError) as error:
            metrics.revalidated(upstream.name, "unanswered")
            _log.warning("serving a stale tag", upstream=upstream.name, repository=repository, tag=tag, reason=error)
            return replace(_answer(Outcome.STALE, copy), checked_at=record.checked_at, reason=error.message)
        metrics.revalidated(upstream.name, "same" if answer.outcome is Outcome.REVALIDATED else "moved")
        return answer

    def _previous(self, upstream: Upstream, repository: Repository, record: TagRecord | None) -> StoredManifest | None:
        """Return what the tag meant before, where that is here; to be served when upstream does not answer."""
        return self._stored(upstream, repository, record.previous) if record and record.previous else None

    def _moved(
        self, upstream: Upstream, repository: Repository, tag: Tag, found: TagRecord, absent: _Absent
    ) -> ManifestAnswer:
        """Answer for a tag whose manifest was not the one that we had."""
        stored = self._stored(upstream, repository, found.digest)
        if stored:
            return _answer(Outcome.MISS, stored)
        try:
            return absent(upstream, repository, found.digest, found)
        except ManifestUnknown:
            # The tag moved on between HEAD and GET and took its manifest with it, or this registry serves no digests.
            fetched = self._get_tag(upstream, repository, tag, has_copy=False)
            self._keep_tag(upstream, repository, tag, fetched.digest, fetched.media_type, len(fetched.data))
            return _answer(Outcome.MISS, fetched)

    def _resolve(self, upstream: Upstream, repository: Repository, tag: Tag) -> TagRecord:
        """Ask upstream what a tag means of which there is no copy, once for all who ask meanwhile; keep the answer."""
        return self._flights.run(
            _key(upstream, repository, tag),
            lambda: self._ask_tag(upstream, repository, tag, has_copy=False),
            _TAG_NOTE,
        )

    def _renewed(
        self,
        upstream: Upstream,
        repository: Repository,
        tag: Tag,
        tags: TagPolicy,
        stored: StoredManifest | None,
        absent: _Absent,
    ) -> ManifestAnswer:
        """Answer for a tag of which there is a copy by what upstream says now, where that comes in time.

        ``stored`` is what it meant when upstream was last asked. Raises UpstreamTimeout, UpstreamDown, and what
        ``_resolve`` raises.
        """
        outage = upstream.health.outage()
        if outage:
            if outage.retry_after is None:
                self._renew_behind(upstream, repository, tag, tags)
            raise outage
        until = time.monotonic() + tags.patience
        # Whoever has a copy stops waiting for all of it together, and for another process that is at it.
        limit = TimeLimit(tags.patience, f"asked {upstream.name} for {repository}:{tag}")

        def ask() -> TagRecord:
            found = self._ask_tag(upstream, repository, tag, has_copy=True)
            if time.monotonic() >= until:
                # Nobody waits any more: what it moved to must be here for the next, who may not wait as long either.
                self._bring(upstream, repository, tag, found)
            return found

        try:
            found = self._flights.run(_key(upstream, repository, tag), ask, _TAG_NOTE, limit)
            if stored and found.digest == stored.digest:
                answer = _answer(Outcome.REVALIDATED, stored)
            else:
                left = max(0.0, until - time.monotonic())
                answer = run_with_timeout(
                    left, limit.what, lambda: self._moved(upstream, repository, tag, found, absent)
                )
        except UpstreamTimeout as error:
            upstream.health.record_late_answer(error)
            raise
        upstream.health.record_timely_answer()
        return answer

    def _renew_behind(self, upstream: Upstream, repository: Repository, tag: Tag, tags: TagPolicy) -> None:
        """Ask upstream what a tag means and fetch it, while everybody is served the copy."""

        def ask() -> TagRecord:
            began = time.monotonic()
            try:
                found = self._ask_tag(upstream, repository, tag, has_copy=True)
                self._bring(upstream, repository, tag, found)
            finally:
                # A denial that comes soon must end access, and an error that comes soon costs nobody a wait.
                if time.monotonic() - began < tags.patience:
                    upstream.health.record_timely_answer()
            return found

        self._flights.start(_key(upstream, repository, tag), ask, _TAG_NOTE)

    def _bring(self, upstream: Upstream, repository: Repository, tag: Tag, found: TagRecord) -> None:
        try:
            self._moved(upstream, repository, tag, found, self._fetch_once)
        except RegistryError as error:
            _log.debug("could not fetch what a tag moved to", repository=repository, tag=tag, error=error)

    def _ask_tag(self, upstream: Upstream, repository: Repository, tag: Tag, *, has_copy: bool) -> TagRecord:
        def ask(is_retry: bool) -> ManifestHead:
            return upstream.head_manifest(repository, tag, has_copy=has_copy, is_retry=is_retry)

        try:
            head = ask(False) if has_copy else self._twice(ask)
            if head.digest is None or head.size is None or not head.media_type:
                # Some registries leave them out of a HEAD (P33); then only a GET tells.
                stored = self._get_tag(upstream, repository, tag, has_copy=has_copy)
                return self._keep_tag(upstream, repository, tag, stored.digest, stored.media_type, len(stored.data))
        except NotFound:
            self._try_to("forget a tag", lambda: self._records.forget_tag(upstream.name, repository, tag))
            raise
        return self._keep_tag(upstream, repository, tag, head.digest, head.media_type, head.size)

    def _get_tag(self, upstream: Upstream, repository: Repository, tag: Tag, *, has_copy: bool) -> StoredManifest:
        """Fetch by tag, which is a counted pull and the last resort; the bytes say what the digest is."""
        return self._compared(
            upstream, repository, None, lambda: upstream.get_manifest(repository, tag, has_copy=has_copy)
        )

    def _keep_tag(
        self, upstream: Upstream, repository: Repository, tag: Tag, digest: Digest, media_type: str, size: int
    ) -> TagRecord:
        """Keep what upstream has just said of the tag, and return it.

        Before its manifest is here: containerd asks by HEAD and then for the digest, and no later request would tell
        us what the tag was. What it meant before stays known, because the manifest may not be had for a while.
        """
        now = self._clock()
        known = self._tag(upstream, repository, tag)
        if known and known.digest == digest:
            if not timedelta(0) <= now - known.checked_at < _LATELY:
                self._records.touch_tag(upstream.name, repository, tag, now)
            return replace(known, checked_at=now)
        here = self._stored(upstream, repository, known.digest) if known else None
        before = here or self._previous(upstream, repository, known)
        record = TagRecord(digest, media_type, size, now, now, previous=before.digest if before else None)
        self._try_to("keep a tag", lambda: self._records.put_tag(upstream.name, repository, tag, record))
        return record

    def _ask_digest(
        self, upstream: Upstream, repository: Repository, digest: Digest, found: TagRecord | None
    ) -> ManifestAnswer:
        """Answer a HEAD for what is not here."""
        if found:
            return ManifestAnswer(Outcome.MISS, digest, found.media_type, found.size)
        head = upstream.head_manifest(repository, digest)
        if head.size is None or head.media_type in ("", _PAGE):
            return self._fetch_once(upstream, repository, digest, None)
        return ManifestAnswer(Outcome.MISS, digest, head.media_type, head.size)

    def _fetch_once(
        self, upstream: Upstream, repository: Repository, digest: Digest, found: TagRecord | None
    ) -> ManifestAnswer:
        """Bring a manifest here, once for all who ask meanwhile; ``found`` where upstream has just named it here."""

        def fetch() -> StoredManifest:
            # A second look: the flight before ours may have brought it.
            here = self._stored(upstream, repository, digest) or self._adopt(upstream, repository, digest, found)
            return here or self._fetch(upstream, repository, digest)

        fetched = self._flights.run(f"manifest {upstream.name}/{repository}@{digest}", fetch, _MANIFEST_NOTE)
        # Another process' bytes come from the disk; where it kept none, we have to fetch our own.
        stored = fetched or self._stored(upstream, repository, digest)
        return _answer(Outcome.MISS, stored or self._fetch(upstream, repository, digest))

    def _adopt(
        self, upstream: Upstream, repository: Repository, digest: Digest, found: TagRecord | None
    ) -> StoredManifest | None:
        """Take over the bytes that another repository brought, once upstream says that this one has them too (P53)."""
        try:
            data = self._records.read_any(digest)
        except StoreError:
            return None
        if data is None:
            return None
        media_type = found.media_type if found else upstream.head_manifest(repository, digest).media_type
        if media_type == _PAGE:
            return None
        return self._keep(upstream, repository, digest, ManifestBody(data, media_type))

    def _fetch(self, upstream: Upstream, repository: Repository, digest: Digest) -> StoredManifest:
        """Fetch by digest."""

        def fetch() -> ManifestBody:
            return self._twice(lambda is_retry: upstream.get_manifest(repository, digest, is_retry=is_retry))

        return self._compared(upstream, repository, digest, fetch)

    def _compared(
        self, upstream: Upstream, repository: Repository, digest: Digest | None, fetch: Callable[[], ManifestBody]
    ) -> StoredManifest:
        """Keep what ``fetch`` brings; bytes that are not the digest's are fetched once more, then reported.

        Without a digest, what upstream says of its own bytes is what they are compared to; where it says nothing, they
        must look like a manifest.
        """
        for _ in range(2):
            body = fetch()
            wanted = digest or body.claimed or _unclaimed(upstream, body)
            got = Digest.of(body.data, wanted.algorithm)
            if got == wanted:
                return self._keep(upstream, repository, wanted, body)
            _log.error("upstream sent a wrong manifest", upstream=upstream.name, repository=repository, found=got)
        raise UpstreamCorrupt(
            f"{upstream.name} sent bytes that are not the manifest: asked for {wanted}, got {got}",
            detail={"wanted": str(wanted), "found": str(got)},
        )

    def _keep(self, upstream: Upstream, repository: Repository, digest: Digest, body: ManifestBody) -> StoredManifest:
        manifest = parse_manifest(body.data, body.media_type)
        self._try_to(
            "keep a manifest",
            lambda: self._records.put_manifest(upstream.name, repository, digest, body.data, manifest),
        )
        return StoredManifest(digest, manifest.media_type, body.data)

    def _twice(self, ask: Callable[[bool], _T]) -> _T:
        """Return ``ask(False)``; after a failure of a moment ``ask(True)``, for there is no copy to serve instead."""
        began = time.monotonic()
        try:
            return ask(False)
        except UpstreamUnavailable as error:
            if time.monotonic() - began > _MOMENT or isinstance(error, UpstreamDown):
                raise
        self._pause(random.uniform(*_PAUSE))  # noqa: S311 — jitter
        return ask(True)

    def _stored(self, upstream: Upstream, repository: Repository, digest: Digest) -> StoredManifest | None:
        try:
            return self._records.manifest(upstream.name, repository, digest)
        except StoreError as error:
            _log.debug("could not read a manifest; fetching it", digest=digest, error=error)
            return None

    def _tag(self, upstream: Upstream, repository: Repository, tag: Tag) -> TagRecord | None:
        try:
            return self._records.tag(upstream.name, repository, tag)
        except StoreError as error:
            _log.debug("could not read a tag; asking for it", tag=tag, error=error)
            return None

    def _try_to(self, what: str, act: Callable[[], None]) -> None:
        """Change the store; a failing disk costs a later hit, never this pull (byte-safety rule 9)."""
        try:
            act()
        except StoreError as error:
            _log.debug(f"could not {what}", error=error, file=error.detail)


def _unclaimed(upstream: Upstream, body: ManifestBody) -> Digest:
    """Return the digest of bytes that nothing vouches for. Raises UpstreamError where they are no manifest."""
    if media_types.without_parameters(body.media_type) == _PAGE or not is_object(body.data):
        raise UpstreamError(f"{upstream.name} sent a web page, or something else that is no manifest")
    return Digest.of(body.data)


def _key(upstream: Upstream, repository: Repository, tag: Tag) -> str:
    return f"tag {upstream.name}/{repository}:{tag}"


_Absent = Callable[[Upstream, Repository, Digest, TagRecord | None], ManifestAnswer]


def _answer(outcome: Outcome, stored: StoredManifest) -> ManifestAnswer:
    return ManifestAnswer(outcome, stored.digest, stored.media_type, len(stored.data), stored.data)


def _write_tag(record: TagRecord) -> dict[str, object]:
    return {
        "previous": str(record.previous) if record.previous else None,
        "digest": str(record.digest),
        "media_type": record.media_type,
        "size": record.size,
        "checked_at": record.checked_at.isoformat(),
        "changed_at": record.changed_at.isoformat(),
    }


def _read_tag(note: Mapping[str, Any]) -> TagRecord:
    return TagRecord(
        previous=Digest.parse(note["previous"]) if note["previous"] else None,
        digest=Digest.parse(note["digest"]),
        media_type=str(note["media_type"]),
        size=int(note["size"]),
        checked_at=datetime.fromisoformat(note["checked_at"]),
        changed_at=datetime.fromisoformat(note["changed_at"]),
    )


# As other processes are told what a tag means, and that a manifest has come: its bytes are on the disk.
_TAG_NOTE = NoteFormat(_write_tag, _read_tag)
_MANIFEST_NOTE: NoteFormat[StoredManifest | None] = NoteFormat(lambda manifest: {}, lambda note: None)
