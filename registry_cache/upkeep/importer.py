"""What an import brings into the store, whatever it comes from: blobs, memberships, manifests, tags, in that order.

Killed anywhere it leaves a smaller store, and run again it goes on: what is here already is not read again. What is
damaged is told and left out, and so is nothing else: a manifest whose layer is missing has it pulled when it is asked
for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import Manifest, parse_manifest
from registry_cache.oci.names import Repository, Tag
from registry_cache.store.blobs import Blobs
from registry_cache.store.interchange.ingest import Arrival, Ingest, Rejected
from registry_cache.store.layout import Layout
from registry_cache.store.record_format import TagRecord
from registry_cache.store.records import Records

# When upstream was last asked for an imported tag. The next pull asks, and serves it only where nobody answers.
NEVER = datetime.fromtimestamp(0, UTC)

# A report names this many of what was left out; it counts them all.
MOST_NAMED = 1000

# What `parse_manifest` says of bytes that it can make nothing of. Clients choose by the media type, so a guess is none.
_UNKNOWN = "application/json"

# ``progress(done, total)`` in bytes; a total of 0 is one that nobody knows.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was not taken, and why in words."""

    what: str
    why: str


@dataclass(slots=True)
class Tally:
    """So many blobs, and their bytes."""

    blobs: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.blobs += 1
        self.bytes += size


@dataclass(slots=True)
class Result:
    """What an import did, or would do.

    ``tallies`` of blobs and manifests together, by how they came; in a dry run LINKED are those that are to come.
    ``absent``: named by the source and not in it, as a proxy's folder has many; ``newer``: tags that were known better.
    ``left_out`` names the first of ``damaged`` things.
    """

    tallies: dict[Arrival, Tally] = field(default_factory=lambda: {how: Tally() for how in Arrival})
    repositories: int = 0
    manifests: int = 0
    tags: int = 0
    absent: int = 0
    newer: int = 0
    damaged: int = 0
    left_out: list[LeftOut] = field(default_factory=list)

    def problem(self, what: str, why: str) -> None:
        """Note what is not taken."""
        self.damaged += 1
        if len(self.left_out) < MOST_NAMED:
            self.left_out.append(LeftOut(what, why))


@dataclass(frozen=True, slots=True)
class Place:
    """Where something belongs."""

    upstream: str
    repository: Repository


class MovingIn:
    """One import into one store, or the rehearsal of one, which changes nothing.

    ``progress`` is told how much of ``total`` was read: what ``position`` says, or the bytes of all files so far.
    """

    def __init__(self, layout: Layout, *, may_link: bool, rehearses: bool, progress: Progress) -> None:
        self.result = Result()
        self.rehearses = rehearses
        self.total = 0
        self.position: Callable[[], int] | None = None
        self._read = 0
        self._progress = progress
        self._blobs = Blobs(layout)
        self._records = Records(layout, self._blobs)
        self._adoption = Ingest(layout, may_link=may_link, tick=self.tick)

    def tick(self, count: int) -> None:
        """Let ``count`` more bytes have been read."""
        self._read += count
        self._progress(self.position() if self.position else self._read, self.total)

    def blob(self, digest: Digest, size: int, adopt: Callable[[Ingest], Arrival]) -> bool:
        """Bring a blob of ``size`` bytes here; False where it is not fit for it.

        Raises StoreError, StoreFull, and what ``adopt`` does but for Rejected.
        """
        try:
            how = self._rehearsed(digest, size) if self.rehearses else adopt(self._adoption)
        except Rejected as unfit:
            self.result.problem(str(digest), str(unfit))
            return False
        self.result.tallies[how].add(size)
        return True

    def settle(self) -> None:
        """Let all blobs have been brought: from now on they get names."""
        if not self.rehearses:
            self._adoption.sync_to_disk()

    def member(self, place: Place, digest: Digest) -> bool:
        """Let a repository contain a blob; False where that is not here. Raises StoreError."""
        return self._blobs.grant(place.upstream, place.repository, digest)

    def peek(self, digest: Digest, media_type: str = "") -> Manifest | None:
        """Return what the bytes of a manifest say; None where they are not here. Raises StoreError.

        ``media_type`` is the source's word, for bytes that do not tell theirs.
        """
        data = self._records.read_any(digest)
        return _parse(data, media_type) if data is not None else None

    def manifest(self, place: Place, digest: Digest, media_type: str = "") -> bool:
        """Let a repository contain a manifest; False where it is not here, or is none. Raises StoreError."""
        data = self._records.read_any(digest)
        if data is None:
            return False
        found = _parse(data, media_type)
        if found.media_type == _UNKNOWN:
            self.result.problem(f"{place.repository}@{digest}", "it is no manifest that clients of today take")
            return False
        if not self._records.manifest(place.upstream, place.repository, digest):
            self._records.put_manifest(place.upstream, place.repository, digest, data, found)
        self.result.manifests += 1
        return True

    def tag(self, place: Place, tag: Tag, digest: Digest, at: datetime) -> None:
        """Let a tag mean a manifest that the repository has, as the source knew ``at``. Raises StoreError.

        Where it has been asked for since, what upstream said then holds.
        """
        stored = self._records.manifest(place.upstream, place.repository, digest)
        if stored is None:
            self.result.absent += 1
            return
        known = self._records.tag(place.upstream, place.repository, tag)
        if known and known.digest != digest and known.checked_at >= at:
            self.result.newer += 1
            return
        self.result.tags += 1
        if known and known.digest == digest:
            return
        record = TagRecord(digest, stored.media_type, len(stored.data), NEVER, at, self._previous(place, known))
        self._records.put_tag(place.upstream, place.repository, tag, record)

    def _previous(self, place: Place, known: TagRecord | None) -> Digest | None:
        here = known and self._records.manifest(place.upstream, place.repository, known.digest)
        return known.digest if known and here else None

    def _rehearsed(self, digest: Digest, size: int) -> Arrival:
        self.tick(size)
        found = self._blobs.open_any(digest)
        return Arrival.HERE if found and found.size == size else Arrival.LINKED


def _parse(data: bytes, media_type: str) -> Manifest:
    found = parse_manifest(data)
    return parse_manifest(data, media_type) if found.media_type == _UNKNOWN else found
