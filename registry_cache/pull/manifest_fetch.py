"""Manifests that are not here: fetched from upstream, compared to their digest, kept."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from registry_cache.errors import UpstreamCorrupt, UpstreamDown, UpstreamError, UpstreamUnavailable
from registry_cache.oci import media_types, signed_manifest
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import is_manifest, parse_manifest
from registry_cache.oci.names import Reference, Tag
from registry_cache.pull.cluster.manifests import NearManifests
from registry_cache.pull.cluster.questions import NearQuestions
from registry_cache.pull.cluster.shared_images import SharedImages
from registry_cache.pull.single_flight import MachineFlights, NoteFormat
from registry_cache.pull.target import PullTarget
from registry_cache.pull.tolerant_records import TolerantRecords
from registry_cache.pull.wrong_bytes import WrongBytes
from registry_cache.runtime import threadpool
from registry_cache.runtime.log import Log
from registry_cache.runtime.peer_question import SharedQuestion
from registry_cache.store.record_format import TagRecord
from registry_cache.store.records import LARGE_MANIFEST_SIZE, StoredManifest
from registry_cache.upstream.client import ManifestBody
from registry_cache.upstream.large_documents import LargeTurn

# Before a failed question is asked once more, and how soon it must have failed for that: two long failures would last
# longer than clients wait.
_PAUSE_SECONDS = (0.1, 0.4)
SOON_SECONDS = 1.0

# What a captive portal, or a registry under maintenance, answers to anything, with a 200.
WEB_PAGE = "text/html"

# Other processes are told that a manifest has come; they find it on the disk.
_NOTE: NoteFormat[StoredManifest | None] = NoteFormat(lambda manifest: {}, lambda note: None)

_T = TypeVar("_T")

_log = Log(__name__)


@dataclass(frozen=True, eq=False, slots=True)
class ManifestFetch:
    """Brings manifests here."""

    records: TolerantRecords
    flights: MachineFlights
    pause: Callable[[float], None]
    shared: SharedImages
    wrong_bytes: WrongBytes | None
    near: NearQuestions
    others: NearManifests
    _large: threading.Lock = field(default_factory=threading.Lock, init=False)

    def by_digest(self, target: PullTarget, digest: Digest, found: TagRecord | None = None) -> StoredManifest:
        """Bring a manifest here, once for all who ask meanwhile; ``found`` where upstream has just named it here."""

        def bring() -> StoredManifest:
            # A second look: the flight before ours may have brought it.
            here = self.records.manifest(target, digest)
            if here is None:
                with target.upstream.large.turn() as turn:
                    here = self._adopt(target, digest, found, turn)
            return here or self._bring_near(target, digest)

        fetched = self.flights.run(f"manifest {target}@{digest}", bring, _NOTE)
        # Another process' bytes come from the disk; where it kept none, we have to fetch our own.
        return fetched or self.records.manifest(target, digest) or self._fetch(target, digest)

    def by_bucket(self, target: PullTarget, digest: Digest) -> StoredManifest | None:
        """Bring a manifest here that other nodes have for this repository; None where none does."""
        if not self.shared.is_shared:
            return None

        def bring() -> StoredManifest | None:
            # A second look: the flight before ours may have brought it.
            if here := self.records.manifest(target, digest):
                return here
            body = self.shared.manifest(target, digest)
            return self._keep(target, digest, body) if body else None

        found = self.flights.run(f"bucket {target}@{digest}", bring, _NOTE)
        return found or self.records.manifest(target, digest)

    def by_tag(self, target: PullTarget, tag: Tag, *, has_copy: bool, follows_head: bool = False) -> StoredManifest:
        """Fetch by tag, which is a counted pull and the last resort; the bytes say what the digest is.

        ``follows_head``: a HEAD for it has just failed, and this is the one more try that there is.
        """

        def fetch(turn: LargeTurn) -> ManifestBody:
            def ask(is_retry: bool) -> ManifestBody:
                return target.upstream.get_manifest(
                    target.name.repository,
                    tag,
                    has_copy=has_copy,
                    is_retry=is_retry,
                    follows_head=follows_head,
                    turn=turn,
                )

            return ask(False) if has_copy or follows_head else self.ask_twice(ask)

        return self._compare_and_keep(target, tag, fetch)

    def ask_twice(self, ask: Callable[[bool], _T]) -> _T:
        """Return ``ask(False)``; if that fails soon ``ask(True)``, for there is no copy to serve instead."""
        began = time.monotonic()
        try:
            return ask(False)
        except UpstreamUnavailable as error:
            if time.monotonic() - began > SOON_SECONDS or isinstance(error, UpstreamDown):
                raise
        self.pause(random.uniform(*_PAUSE_SECONDS))  # noqa: S311 — jitter
        return ask(True)

    def _bring_near(self, target: PullTarget, digest: Digest) -> StoredManifest:
        """Fetch from the node that has it, or from upstream, once for the cluster."""

        def fetch() -> StoredManifest | None:
            # Once more: another node may have had it brought here between our look and our turn.
            here = self.records.manifest(target, digest)
            return here or self._from_others(target, digest) or self._fetch(target, digest)

        fetched = self.near.ask(_question(target, digest), fetch, _NOTE).value
        # Another process of ours has left them here, another node there; if it does not give them, we fetch our own.
        here = fetched or self.records.manifest(target, digest)
        return here or self._from_others(target, digest) or self._fetch(target, digest)

    def answer(self, target: PullTarget, digest: Digest) -> dict[str, object]:
        """Bring a manifest here for another node, which then asks for it; as ``NearQuestions.answer``."""

        def fetch() -> StoredManifest | None:
            return self.records.manifest(target, digest) or self._fetch(target, digest)

        return self.near.answer(_question(target, digest), fetch, _NOTE)

    def _from_others(self, target: PullTarget, digest: Digest) -> StoredManifest | None:
        body = self.others.fetch(target, digest)
        return self._keep(target, digest, body) if body else None

    def _adopt(
        self, target: PullTarget, digest: Digest, found: TagRecord | None, turn: LargeTurn
    ) -> StoredManifest | None:
        """Take over the bytes that another repository brought, once upstream says that this one has them too (P53)."""
        if self.records.size_of_others(digest) >= LARGE_MANIFEST_SIZE:
            turn.take()
        data = self.records.manifest_of_others(target, digest)
        if data is None:
            return None
        if found:
            return self._keep(target, digest, ManifestBody(data, found.media_type))
        head = target.upstream.head_manifest(target.name.repository, digest)
        # A HEAD that was refused proves nothing; a GET will.
        return (
            self._keep(target, digest, ManifestBody(data, head.media_type))
            if head.refusal is None and head.media_type
            else None
        )

    def _fetch(self, target: PullTarget, digest: Digest) -> StoredManifest:
        def fetch(turn: LargeTurn) -> ManifestBody:
            return self.ask_twice(
                lambda again: target.upstream.get_manifest(target.name.repository, digest, is_retry=again, turn=turn)
            )

        return self._compare_and_keep(target, digest, fetch)

    def _compare_and_keep(
        self, target: PullTarget, reference: Reference, fetch: Callable[[LargeTurn], ManifestBody]
    ) -> StoredManifest:
        """Keep what ``fetch`` brings; bytes that are not the digest's are fetched once more, then reported.

        By a tag, what upstream says of its own bytes is what they are compared to; where it says nothing, they must
        look like a manifest.
        """
        upstream, digest = target.upstream.name, reference if isinstance(reference, Digest) else None
        if self.wrong_bytes:
            self.wrong_bytes.check(target.name, reference)
        for _ in range(2):
            with target.upstream.large.turn() as turn:
                body = fetch(turn)
                wanted = digest or body.claimed or _digest_of_manifest(upstream, body)
                if signed_manifest.is_named(body.data, wanted):
                    if self.wrong_bytes:
                        self.wrong_bytes.forget(target.name, reference)
                    kept = self._keep(target, wanted, body)
                    self.others.announce(wanted)
                    self.shared.add_manifest(target, wanted, kept.media_type)
                    return kept
            got = signed_manifest.digest_of(body.data, wanted.algorithm)
            # The error below remembers this frame, and all who share it keep it for a while.
            del body
            _log.error(
                "upstream sent a wrong manifest", upstream=upstream, repository=target.name.repository, found=got
            )
        if self.wrong_bytes:
            self.wrong_bytes.pause(target.name, reference)
        raise UpstreamCorrupt(
            f"{upstream} sent bytes that are not the manifest: asked for {wanted}, got {got}",
            detail={"wanted": str(wanted), "found": str(got)},
        )

    def _keep(self, target: PullTarget, digest: Digest, body: ManifestBody) -> StoredManifest:
        if len(body.data) < LARGE_MANIFEST_SIZE:
            manifest = parse_manifest(body.data, body.media_type)
            self.records.keep_manifest(target, digest, body.data, manifest)
            return StoredManifest(digest, manifest.media_type, body.data)
        # Forty thousand descriptors take seconds of others' time, and tens of megabytes: on a real thread, and one at a
        # time until they are written.
        with self._large:
            manifest = threadpool.run(parse_manifest, body.data, body.media_type)
            self.records.keep_manifest(target, digest, body.data, manifest)
            media_type = manifest.media_type
            del manifest
        # It is sent from its file, if the disk has taken it.
        return self.records.manifest(target, digest) or StoredManifest(digest, media_type, body.data)


def _question(target: PullTarget, digest: Digest) -> SharedQuestion:
    return SharedQuestion("manifest", *target.name, str(digest))


def _digest_of_manifest(upstream: str, body: ManifestBody) -> Digest:
    """Return the digest of bytes that nothing vouches for. Raises UpstreamError where they are no manifest."""
    if media_types.without_parameters(body.media_type) == WEB_PAGE or not is_manifest(body.data, body.media_type):
        raise UpstreamError(f"{upstream} sent a web page, or something else that is no manifest")
    return signed_manifest.digest_of(body.data)
