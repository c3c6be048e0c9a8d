"""Bring content into the store, from whatever source: blobs, memberships, manifests, tags, in that order.

An import that is killed leaves less in the store, and goes on when it is run again: what is here already is not read
again. Only damaged content is left out, and reported. A manifest whose layer is missing is imported: the layer is
pulled when a client asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from registry_cache.oci import signed_manifest
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import Manifest, parse_manifest
from registry_cache.oci.names import FullName, Tag
from registry_cache.policy.eviction import Bounds
from registry_cache.store.blobs import Blobs
from registry_cache.store.interchange.ingest import Arrival, Ingest, Rejected, require_owner
from registry_cache.store.layout import Layout
from registry_cache.store.record_format import TagRecord
from registry_cache.store.records import Records
from registry_cache.upkeep.import_room import ImportRoom
from registry_cache.upkeep.report import MOST_NAMED

# The time at which upstream was last asked for an imported tag. So the next pull asks, and serves the imported tag only
# if upstream does not answer.
NEVER = datetime.fromtimestamp(0, UTC)

# The media type that `parse_manifest` gives to bytes that are not a manifest. Clients choose by the media type, so we
# do not guess one.
_UNKNOWN = "application/json"
# Registries keep the signatures of schema 1 elsewhere, and without them it is not what its clients want.
_LEFT_OUT = (_UNKNOWN, signed_manifest.SIGNED, signed_manifest.UNSIGNED)

# ``progress(done, total)`` in bytes; a total of 0 means that it is not known.
ImportProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class SkippedItem:
    """Something that was not imported, and why in words."""

    what: str
    why: str


@dataclass(slots=True)
class BlobTally:
    """A number of blobs, and of their bytes."""

    blobs: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.blobs += 1
        self.bytes += size


@dataclass(slots=True)
class ImportResult:
    """What an import did, or would do.

    ``tallies``: blobs and manifests together, by how they arrived; in a dry run, LINKED are those that would be new.
    ``absent``: named by the source and not in it, which is usual for a proxy's folder. ``newer``: tags that are newer
    here. ``left_out`` names the first of the ``damaged`` things.
    """

    tallies: dict[Arrival, BlobTally] = field(default_factory=lambda: {how: BlobTally() for how in Arrival})
    repositories: int = 0
    manifests: int = 0
    tags: int = 0
    absent: int = 0
    newer: int = 0
    damaged: int = 0
    left_out: list[SkippedItem] = field(default_factory=list)

    def problem(self, what: str, why: str) -> None:
        """Count and perhaps name something that is not imported."""
        self.damaged += 1
        if len(self.left_out) < MOST_NAMED:
            self.left_out.append(SkippedItem(what, why))


class ImportSession:
    """One import into one store; a dry run changes nothing.

    ``progress`` is told how much of ``total`` was read: what ``position`` says, or the bytes of all files so far.
    """

    def __init__(
        self, layout: Layout, room: ImportRoom, *, may_link: bool, dry_run: bool, progress: ImportProgress
    ) -> None:
        self.result = ImportResult()
        self.room = room
        self.dry_run = dry_run
        self.total = 0
        self.position: Callable[[], int] | None = None
        self._read = 0
        self._progress = progress
        self._blobs = Blobs(layout)
        self._records = Records(layout, self._blobs)
        self._adoption = Ingest(layout, may_link=may_link, tick=self.tick, check_room=room.check)

    @classmethod
    def open(
        cls, root: Path, bounds: Bounds, *, may_link: bool, dry_run: bool, progress: ImportProgress
    ) -> ImportSession:
        """Return an import into the store under ``root``, which is made unless this is a dry run. Raises StoreError."""
        layout = Layout(root) if dry_run else Layout.open(root)
        if dry_run:
            Layout.find(root)
        else:
            require_owner(layout)
        room = ImportRoom(layout, bounds)
        return cls(layout, room, may_link=may_link, dry_run=dry_run, progress=progress)

    def tick(self, count: int) -> None:
        """Count ``count`` more bytes as read."""
        self._read += count
        self._progress(self.position() if self.position else self._read, self.total)

    def blob(self, digest: Digest, size: int, adopt: Callable[[Ingest], Arrival]) -> bool:
        """Import a blob of ``size`` bytes; False where it is damaged.

        Raises StoreError, StoreFull, and what ``adopt`` does but for Rejected.
        """
        try:
            how = self._plan(digest, size) if self.dry_run else adopt(self._adoption)
        except Rejected as unfit:
            self.result.problem(str(digest), str(unfit))
            return False
        self.result.tallies[how].add(size)
        if how is Arrival.COPIED:
            self.room.count(size)
        return True

    def settle(self) -> None:
        """Make the blobs imported so far durable; names may follow."""
        if not self.dry_run:
            self._adoption.sync_to_disk()

    def end(self) -> None:
        """Make all names durable: whoever sees the import end may delete the source."""
        if not self.dry_run:
            self._adoption.sync_names()

    def member(self, destination: FullName, digest: Digest) -> bool:
        """Make a blob a member of a repository; False where the blob is not here. Raises StoreError."""
        return self._blobs.grant(destination, digest)

    def read_manifest(self, digest: Digest, media_type: str = "") -> Manifest | None:
        """Return a manifest as parsed; None where it is not here. Raises StoreError.

        ``media_type`` is what the source says, for manifests that do not say it themselves.
        """
        data = self._records.read_any(digest)
        return _parse(data, media_type) if data is not None else None

    def manifest(self, destination: FullName, digest: Digest, media_type: str = "") -> bool:
        """Import a manifest into a repository; False where it is not here, or is not a manifest. Raises StoreError."""
        data = self._records.read_any(digest)
        if data is None:
            return False
        found = _parse(data, media_type)
        if found.media_type in _LEFT_OUT:
            self.result.problem(
                f"{destination.repository}@{digest}", "it is not a manifest that today's clients accept"
            )
            return False
        if not self._records.manifest(destination, digest):
            self._records.put_manifest(destination, digest, data, found)
        self.result.manifests += 1
        return True

    def tag(self, destination: FullName, tag: Tag, digest: Digest, at: datetime) -> None:
        """Let a tag mean a manifest of the repository, as the source knew it ``at`` that time. Raises StoreError.

        If upstream has been asked for the tag since then, its answer stays.
        """
        stored = self._records.manifest(destination, digest)
        if stored is None:
            self.result.absent += 1
            return
        known = self._records.tag(destination, tag)
        if known and known.digest != digest and known.checked_at >= at:
            self.result.newer += 1
            return
        self.result.tags += 1
        if known and known.digest == digest:
            return
        record = TagRecord(digest, stored.media_type, stored.size, NEVER, at, self._previous(destination, known))
        self._records.put_tag(destination, tag, record)

    def _previous(self, destination: FullName, known: TagRecord | None) -> Digest | None:
        here = known and self._records.manifest(destination, known.digest)
        return known.digest if known and here else None

    def _plan(self, digest: Digest, size: int) -> Arrival:
        self.tick(size)
        found = self._blobs.open_any(digest)
        return Arrival.HERE if found and found.size == size else Arrival.LINKED


def _parse(data: bytes, media_type: str) -> Manifest:
    found = parse_manifest(data)
    return parse_manifest(data, media_type) if found.media_type == _UNKNOWN else found
