"""The pull of a manifest: by digest, which never changes, or by tag, which upstream is asked about.

TAG     fresh (tag_max_age), here or on any node → HIT           upstream is not asked
        HEAD: the digest that we have            → REVALIDATED   at no counted pull
        HEAD: another digest                     → MISS          GET that digest, never the tag again (P28)
        404                                      → the tag is forgotten; STALE if it is pinned
        429, 5xx, silence                        → STALE if there is a copy, else the error
        slower than who has a copy waits         → STALE         the work goes on; the next pull finds what it brought
        down, or slow until now                  → STALE         at once; upstream is asked in the background
        401, 403                                 → Denied: an answer, not an outage; the copy stays on the disk
DIGEST  known to the repository                  → HIT           never revalidated
        brought by another repository            → MISS          HEAD proves our access; nothing is fetched
        otherwise                                → MISS          GET
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from registry_cache.errors import (
    Denied,
    ManifestUnknown,
    NotFound,
    NotHeld,
    RegistryError,
    TooManyRequests,
    UpstreamError,
    UpstreamTimeout,
)
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Reference, Tag
from registry_cache.pull.cluster.manifests import NearManifests
from registry_cache.pull.cluster.nodes import Cluster
from registry_cache.pull.cluster.questions import ALONE, NearQuestions
from registry_cache.pull.cluster.shared_images import NOTHING_SHARED, SharedImages
from registry_cache.pull.cluster.tags import NearTags
from registry_cache.pull.manifest_body import ManifestFile
from registry_cache.pull.manifest_fetch import ManifestFetch
from registry_cache.pull.moved_tag import fetch_moved
from registry_cache.pull.outcome import Outcome
from registry_cache.pull.single_flight import MachineFlights, TimeLimit
from registry_cache.pull.tag_lookup import TAG_NOTE, TagLookup
from registry_cache.pull.target import PullTarget
from registry_cache.pull.tolerant_records import TolerantRecords
from registry_cache.pull.wrong_bytes import WrongBytes
from registry_cache.runtime import event_queue, metrics
from registry_cache.runtime.log import Log
from registry_cache.store.blobs import OpenBlob
from registry_cache.store.pins import Pins
from registry_cache.store.record_format import TagRecord
from registry_cache.store.records import Records, StoredManifest, read_content
from registry_cache.upstream.breakers import Subject
from registry_cache.upstream.deadline import run_with_timeout

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class ManifestAnswer:
    """What a manifest request gets. ``body`` is None for a HEAD of what is not here, and of a large one its file.

    ``size`` in bytes.

    ``checked_at`` is when upstream last confirmed the tag, for a stale or fresh one; ``reason`` is why it is stale.
    """

    outcome: Outcome
    digest: Digest
    media_type: str
    size: int
    body: bytes | ManifestFile | None = None
    checked_at: datetime | None = None
    reason: str | None = None

    @property
    def data(self) -> bytes | None:
        """The bytes; None where only a HEAD was wanted. Raises StoreError."""
        return read_content(self.body.content) if isinstance(self.body, ManifestFile) else self.body


def is_fresh(checked_at: datetime, now: datetime, max_age: timedelta) -> bool:
    """Decide whether a tag last checked at ``checked_at`` may be served without asking.

    A record from the future (the clock went back) is not fresh: trusting it could serve an old tag for as long as the
    clock was wrong.
    """
    return timedelta(0) <= now - checked_at < max_age


class ManifestPull:
    """Pulls of manifests, for every upstream over one store."""

    def __init__(
        self,
        records: Records,
        flights: MachineFlights,
        clock: Callable[[], datetime],
        pause: Callable[[float], None] = time.sleep,
        pins: Pins | None = None,
        wrong_bytes: WrongBytes | None = None,
        cluster: Cluster | None = None,
        shared: SharedImages = NOTHING_SHARED,
        near: NearQuestions = ALONE,
    ) -> None:
        """``near``: what other nodes ask just now."""
        self._records = TolerantRecords(records)
        self._flights = flights
        self._clock = clock
        self._fetch = ManifestFetch(self._records, flights, pause, shared, wrong_bytes, near, NearManifests(cluster))
        self._has_nodes = cluster is not None
        confirmed = NearTags(cluster.tags, cluster.membership.clock) if cluster else NearTags()
        self._tags = TagLookup(self._records, self._fetch, clock, shared, pins, near, confirmed)

    def get(self, target: PullTarget, reference: Reference, *, head: bool = False) -> ManifestAnswer:
        """Return the manifest with its bytes; for a ``head`` what is known of it, and nothing is downloaded for that.

        Raises every kind of RegistryError that upstream's answer may mean.
        """
        if isinstance(reference, Tag):
            return self._by_tag(target, reference, head)
        stored = self._records.manifest(target, reference)
        return _answer(Outcome.HIT, stored) if stored else self._absent(target, reference, None, head)

    def get_held(self, target: PullTarget, digest: Digest) -> ManifestAnswer:
        """Return a manifest for another node, if it is here and known to the repository. Raises NotHeld."""
        stored = self._records.manifest(target, digest)
        if stored is None:
            raise NotHeld(f"{digest} is not here")
        return _answer(Outcome.HIT, stored)

    def answer_tag(self, target: PullTarget, tag: Tag) -> dict[str, object]:
        """Return for another node what a tag means, as ``NearQuestions.answer`` does."""
        return self._tags.answer(target, tag)

    def answer_manifest(self, target: PullTarget, digest: Digest) -> dict[str, object]:
        """Bring a manifest here for another node, as ``NearQuestions.answer``."""
        return self._fetch.answer(target, digest)

    def _by_tag(self, target: PullTarget, tag: Tag, head: bool) -> ManifestAnswer:
        record = self._records.tag(target, tag)
        stored = self._records.manifest(target, record.digest) if record else None
        copy = stored or self._records.previous(target, record)
        if record is None or copy is None:
            return self._unknown_tag(target, tag, head)
        if stored and is_fresh(record.checked_at, self._clock(), target.tags.max_age):
            return replace(_answer(Outcome.HIT, stored), checked_at=record.checked_at)
        upstream = target.upstream.name
        try:
            if near := self._confirmed_near(target, tag, head, has_copy=True):
                return near
            answer = self._revalidate(target, tag, stored, head)
        except (NotFound, Denied) as error:
            metrics.count_revalidation(upstream, "gone" if isinstance(error, NotFound) else "denied")
            if isinstance(error, NotFound):
                event_queue.add_change("gone", *target.name, tag)
            if isinstance(error, Denied) or not self._tags.is_pinned(target, tag):
                raise
            reason = f"{error.message}; this copy is pinned here"
            return self._stale(target, tag, copy, record, reason)
        except (TooManyRequests, UpstreamError) as error:
            metrics.count_revalidation(upstream, "unanswered")
            return self._stale(target, tag, copy, record, error.message)
        metrics.count_revalidation(upstream, "same" if answer.outcome is Outcome.REVALIDATED else "moved")
        return answer

    def _confirmed_near(
        self, target: PullTarget, tag: Tag, head: bool, *, has_copy: bool = False
    ) -> ManifestAnswer | None:
        """Answer for a tag that another node has asked about within ``tag_max_age``; None where upstream must be.

        Raises Denied; where there is a copy UpstreamTimeout, for its owner has waited long enough.
        """
        found = self._tags.confirmed_near(target, tag) if self._has_nodes and target.tags.max_age else None
        if found is None:
            return None
        stored = self._records.manifest(target, found.digest)
        if stored:
            return replace(_answer(Outcome.HIT, stored), checked_at=found.checked_at)
        if has_copy and target.upstream.health.outage(Subject.manifest(target.name.repository, tag)):
            return None
        what = f"fetched what another node was told that {target}:{tag} means"
        try:
            answer = run_with_timeout(
                target.tags.timeout_seconds, what, lambda: self._absent(target, found.digest, found, head)
            )
        except (NotFound, TooManyRequests, UpstreamError) as error:
            if has_copy and isinstance(error, UpstreamTimeout):
                target.upstream.health.record_late_answer(error, target.name.repository)
                raise
            # The tag has moved on, or something else that asking for it will tell.
            _log.debug(
                "another node's word on a tag was of no use", repository=target.name.repository, tag=tag, error=error
            )
            return None
        return replace(answer, checked_at=found.checked_at)

    def _unknown_tag(self, target: PullTarget, tag: Tag, head: bool) -> ManifestAnswer:
        """Answer for a tag of which there is no copy here; where upstream does not, by the copy of another node."""
        if near := self._confirmed_near(target, tag, head):
            return near
        try:
            found = self._flights.run(_key(target, tag), lambda: self._tags.ask(target, tag, has_copy=False), TAG_NOTE)
            return self._changed(target, tag, found, head)
        except (TooManyRequests, UpstreamError) as error:
            record = self._tags.by_bucket(target, tag)
            copy = self._fetch.by_bucket(target, record.digest) if record else None
            if record is None or copy is None:
                raise
            return self._stale(target, tag, copy, record, error.message)

    def _stale(
        self, target: PullTarget, tag: Tag, copy: StoredManifest, record: TagRecord, reason: str
    ) -> ManifestAnswer:
        upstream, repository = target.name
        _log.warning("serving a stale tag", upstream=upstream, repository=repository, tag=tag, reason=reason)
        return replace(_answer(Outcome.STALE, copy), checked_at=record.checked_at, reason=reason)

    def _revalidate(self, target: PullTarget, tag: Tag, stored: StoredManifest | None, head: bool) -> ManifestAnswer:
        """Answer for a tag of which there is a copy by what upstream says now, where that comes in time.

        ``stored`` is what it meant when upstream was last asked. Raises UpstreamTimeout, UpstreamDown, and what asking
        raises.
        """
        upstream, timeout = target.upstream, target.tags.timeout_seconds
        outage = upstream.health.outage(Subject.manifest(target.name.repository, tag))
        if outage:
            if outage.retry_after is None:
                self._flights.start(_key(target, tag), lambda: self._ask_in_background(target, tag), TAG_NOTE)
            raise outage
        until = time.monotonic() + timeout
        # Whoever has a copy stops waiting for all of it together, and for another process that asks.
        limit = TimeLimit(timeout, f"asked {upstream.name} for {target.name.repository}:{tag}")
        try:
            found = self._flights.run(_key(target, tag), lambda: self._ask_until(target, tag, until), TAG_NOTE, limit)
            if stored and found.digest == stored.digest:
                answer = _answer(Outcome.REVALIDATED, stored)
            else:
                left = max(0.0, until - time.monotonic())
                answer = run_with_timeout(left, limit.what, lambda: self._changed(target, tag, found, head))
        except UpstreamTimeout as error:
            upstream.health.record_late_answer(error, target.name.repository)
            raise
        upstream.health.record_timely_answer(target.name.repository)
        return answer

    def _changed(self, target: PullTarget, tag: Tag, found: TagRecord, head: bool) -> ManifestAnswer:
        """Answer for a tag whose manifest was not the one that we had."""
        stored = self._records.manifest(target, found.digest)
        if stored:
            return _answer(Outcome.MISS, stored)
        try:
            return self._absent(target, found.digest, found, head)
        except ManifestUnknown:
            fetched = fetch_moved(self._fetch, target, tag, found.digest, has_copy=False)
            self._tags.keep(target, tag, fetched.digest, fetched.media_type, fetched.size)
            return _answer(Outcome.MISS, fetched)

    def _absent(self, target: PullTarget, digest: Digest, found: TagRecord | None, head: bool) -> ManifestAnswer:
        """Answer for what is not here; ``found`` where upstream has just said of a tag that it means this."""
        if shared := self._fetch.by_bucket(target, digest):
            return _answer(Outcome.NEAR, shared)
        if head and found:
            return ManifestAnswer(Outcome.MISS, digest, found.media_type, found.size)
        if head:
            said = target.upstream.head_manifest(target.name.repository, digest)
            if said.size is not None and said.media_type:
                return ManifestAnswer(Outcome.MISS, digest, said.media_type, said.size)
        stored = self._fetch.by_digest(target, digest, found)
        if found:
            target.upstream.heads.record_length(found.size, stored.size)
        return _answer(Outcome.MISS, stored)

    def _ask_until(self, target: PullTarget, tag: Tag, until: float) -> TagRecord:
        """Ask what a tag means, for those who wait ``until`` then by the monotonic clock."""
        found = self._tags.ask(target, tag, has_copy=True)
        if time.monotonic() >= until:
            # Nobody waits any more: what it moved to must be here for the next, who may not wait as long either.
            self._bring(target, tag, found)
        return found

    def _ask_in_background(self, target: PullTarget, tag: Tag) -> TagRecord:
        """Ask upstream what a tag means and fetch it, while everybody is served the copy."""
        began = time.monotonic()
        try:
            found = self._tags.ask(target, tag, has_copy=True)
            self._bring(target, tag, found)
        finally:
            # A denial that comes soon must end access, and an error that comes soon costs nobody a wait.
            if time.monotonic() - began < target.tags.timeout_seconds:
                target.upstream.health.record_timely_answer(target.name.repository)
        return found

    def _bring(self, target: PullTarget, tag: Tag, found: TagRecord) -> None:
        try:
            self._changed(target, tag, found, head=False)
        except RegistryError as error:
            _log.debug("could not fetch what a tag moved to", repository=target.name.repository, tag=tag, error=error)


def _key(target: PullTarget, tag: Tag) -> str:
    return f"tag {target.upstream.name}/{target.name.repository}:{tag}"


def _answer(outcome: Outcome, stored: StoredManifest) -> ManifestAnswer:
    body = ManifestFile(stored.content) if isinstance(stored.content, OpenBlob) else stored.content
    return ManifestAnswer(outcome, stored.digest, stored.media_type, stored.size, body)
