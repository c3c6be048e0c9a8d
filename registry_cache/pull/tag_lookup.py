"""What a tag means, by upstream's word: asked at no counted pull where upstream lets us, and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from registry_cache.errors import ManifestUnknown, NotFound, StoreError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Tag
from registry_cache.pull.cluster.questions import NearQuestions
from registry_cache.pull.cluster.shared_images import SharedImages
from registry_cache.pull.cluster.tags import NearTags
from registry_cache.pull.manifest_fetch import ManifestFetch
from registry_cache.pull.moved_tag import fetch_moved
from registry_cache.pull.single_flight import NoteFormat
from registry_cache.pull.target import PullTarget
from registry_cache.pull.tolerant_records import TolerantRecords
from registry_cache.runtime import event_queue
from registry_cache.runtime.log import Log
from registry_cache.runtime.peer_question import SharedQuestion
from registry_cache.store.pins import Pins
from registry_cache.store.record_format import TagRecord
from registry_cache.store.records import StoredManifest
from registry_cache.upstream.client import ManifestHead

# A confirmation is recorded if the last one is older than this: each makes every worker read the record anew. Must stay
# below any useful ``max_age``.
_CONFIRM_EVERY = timedelta(seconds=0.1)

_log = Log(__name__)


@dataclass(frozen=True, eq=False, slots=True)
class TagLookup:
    """Asks what tags mean; ``clock`` tells when that was."""

    records: TolerantRecords
    fetch: ManifestFetch
    clock: Callable[[], datetime]
    shared: SharedImages
    pins: Pins | None
    near: NearQuestions
    confirmed: NearTags

    def ask(self, target: PullTarget, tag: Tag, *, has_copy: bool) -> TagRecord:
        """Ask upstream, once for all nodes that ask at this moment, keep the answer and return it.

        Raises NotFound, and forgets the tag unless it is pinned, Denied, TooManyRequests, UpstreamError.
        """
        try:
            shared = self.near.ask(_question(target, tag), lambda: self._ask(target, tag, has_copy=has_copy), TAG_NOTE)
        except NotFound:
            self.confirmed.forget(target, tag)
            if not self.is_pinned(target, tag):
                self.records.forget_tag(target, tag)
            raise
        found = shared.value
        # On every node that shared the answer, or it would have none at the next outage.
        return found if shared.is_ours else self.keep(target, tag, found.digest, found.media_type, found.size)

    def answer(self, target: PullTarget, tag: Tag) -> dict[str, object]:
        """Return for another node what upstream says now, as ``NearQuestions.answer`` does."""
        return self.near.answer(_question(target, tag), lambda: self._ask(target, tag, has_copy=True), TAG_NOTE)

    def _ask(self, target: PullTarget, tag: Tag, *, has_copy: bool) -> TagRecord:
        def ask(is_retry: bool) -> ManifestHead | StoredManifest:
            if is_retry:
                # HEADs may be all that fails there (P72).
                return self.fetch.by_tag(target, tag, has_copy=False, follows_head=True)
            return target.upstream.head_manifest(target.name.repository, tag, has_copy=has_copy)

        said = ask(False) if has_copy else self.fetch.ask_twice(ask)
        facts = self._facts(target, tag, said, has_copy=has_copy) if isinstance(said, ManifestHead) else _facts_of(said)
        record = self.keep(target, tag, *facts)
        self.confirmed.publish(target, tag, record)
        return record

    def confirmed_near(self, target: PullTarget, tag: Tag) -> TagRecord | None:
        """Return what another node was told of the tag within ``tag_max_age``, and keep that; None for nothing."""
        found = self.confirmed.find(target, tag, self.clock())
        if found is None:
            return None
        return self.keep(target, tag, found.digest, found.media_type, found.size, at=found.checked_at)

    def _facts(self, target: PullTarget, tag: Tag, head: ManifestHead, *, has_copy: bool) -> tuple[Digest, str, int]:
        """Return digest, media type and size of what ``tag`` means, fetched where ``head`` says too little (P33).

        The digest is enough for a tag that has not moved: it costs no counted pull.
        """
        if head.digest is None:
            return _facts_of(self.fetch.by_tag(target, tag, has_copy=has_copy))
        if head.size is not None and head.media_type:
            return head.digest, head.media_type, head.size
        known = self.records.tag(target, tag)
        if known and known.digest == head.digest:
            return known.digest, known.media_type, known.size
        try:
            stored = self.records.manifest(target, head.digest) or self.fetch.by_digest(target, head.digest)
        except ManifestUnknown:
            stored = fetch_moved(self.fetch, target, tag, head.digest, has_copy=has_copy)
        return _facts_of(stored)

    def is_pinned(self, target: PullTarget, tag: Tag) -> bool:
        """Return whether the operator wants to keep what the tag means, whatever becomes of it upstream."""
        try:
            return self.pins is not None and self.pins.holds_tag(target.name, tag)
        except StoreError as error:
            # As for cleanup: what cannot be read may name this tag.
            _log.error(
                "cannot tell what is pinned; keeping a tag", tag=tag, repository=target.name.repository, error=error
            )
            return True

    def keep(
        self,
        target: PullTarget,
        tag: Tag,
        digest: Digest,
        media_type: str,
        size: int,
        at: datetime | None = None,
    ) -> TagRecord:
        """Keep what upstream has said of the tag ``at`` that moment, just now without it, and return it.

        Before its manifest is here: containerd asks by HEAD and then for the digest, and no later request would tell
        us what the tag was. What it meant before stays known, because the manifest may not be had for a while.
        """
        now = at or self.clock()
        known = self.records.tag(target, tag)
        if known and known.digest == digest:
            if not timedelta(0) <= now - known.checked_at < _CONFIRM_EVERY:
                self.records.confirm_tag(target, tag, now)
            return replace(known, checked_at=now)
        here = self.records.manifest(target, known.digest) if known else None
        before = here or self.records.previous(target, known)
        record = TagRecord(digest, media_type, size, now, now, previous=before.digest if before else None)
        self.records.keep_tag(target, tag, record)
        if known:
            event_queue.add_change("moved", *target.name, tag, str(known.digest), str(digest))
        self.shared.add_tag(target, tag, record)
        return record

    def by_bucket(self, target: PullTarget, tag: Tag) -> TagRecord | None:
        """Return what a tag meant to another node, and keep that, for a time when upstream does not answer."""
        record = self.shared.tag(target, tag)
        if record:
            self.records.keep_tag(target, tag, record)
        return record


def _question(target: PullTarget, tag: Tag) -> SharedQuestion:
    return SharedQuestion("tag", *target.name, str(tag))


def _facts_of(stored: StoredManifest) -> tuple[Digest, str, int]:
    return stored.digest, stored.media_type, stored.size


def _write_note(record: TagRecord) -> dict[str, object]:
    return {
        "previous": str(record.previous) if record.previous else None,
        "digest": str(record.digest),
        "media_type": record.media_type,
        "size": record.size,
        "checked_at": record.checked_at.isoformat(),
        "changed_at": record.changed_at.isoformat(),
    }


def _read_note(note: Mapping[str, Any]) -> TagRecord:
    return TagRecord(
        previous=Digest.parse(note["previous"]) if note["previous"] else None,
        digest=Digest.parse(note["digest"]),
        media_type=str(note["media_type"]),
        size=int(note["size"]),
        checked_at=datetime.fromisoformat(note["checked_at"]),
        changed_at=datetime.fromisoformat(note["changed_at"]),
    )


# How other processes are told what a tag means.
TAG_NOTE = NoteFormat(_write_note, _read_note)
