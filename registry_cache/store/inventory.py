"""Count what a store holds, and find its unfinished downloads, without making, writing or locking anything.

Counted from names: each folder of records is read once, each blob has one stat, however many repositories contain it.
What comes or goes meanwhile is counted or not.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from registry_cache.errors import DigestInvalid
from registry_cache.oci.digest import Digest
from registry_cache.store import disk, locks
from registry_cache.store.disk import entries, last_use
from registry_cache.store.last_use import StoredBlob, stored_blobs
from registry_cache.store.layout import ALGORITHMS, Layout
from registry_cache.store.partial_downloads import Partials
from registry_cache.store.piece_files import stored_pieces
from registry_cache.store.reader_notes import readers_by_digest
from registry_cache.store.repositories import repositories


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """What is cached. ``bytes`` of all manifests and blobs, and how many the disk has ``allocated`` for them."""

    repositories: int = 0
    tags: int = 0
    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    allocated: int = 0


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A blob of which ``bytes`` are here, of ``size`` if that is known. ``running``: somebody holds its lock now.

    ``upstream`` and ``repository`` are the last leader's, "" where its status does not say; ``error`` is what ended it,
    and ``since`` when it began, in seconds since the epoch. Last ``used`` then, in nanoseconds since the epoch.
    ``readers``: clients that are sent it as it comes, of all processes; up to a second old.
    """

    digest: Digest
    bytes: int
    running: bool
    size: int | None = None
    upstream: str = ""
    repository: str = ""
    error: str = ""
    # Two that differ only in these are equal.
    used: int = field(default=0, compare=False)
    since: float | None = field(default=None, compare=False)
    readers: int = field(default=0, compare=False)

    @property
    def stored(self) -> StoredBlob:
        """The bytes so far, as something that can be evicted."""
        return StoredBlob(self.digest, self.bytes, self.used)


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """Bytes of a file system, and how many of them are free to us."""

    total: int
    free: int


def count(layout: Layout) -> StoreCounts:
    """Count what is cached. Raises StoreError."""
    with disk.store_errors("count what is cached"):
        repository_count, tags, manifests = _count_repositories(layout)
        files = found_manifests = size = allocated = 0
        for digest, entry in stored_blobs(layout):
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            files += 1
            found_manifests += (digest.algorithm, digest.hex) in manifests
            size += found.st_size
            allocated += found.st_blocks * disk.BLOCK
    return StoreCounts(repository_count, tags, len(manifests), files - found_manifests, size, allocated)


def unfinished(layout: Layout) -> list[Unfinished]:
    """Return the transfers that run and those that were interrupted, largest first. Raises StoreError."""
    with disk.store_errors("look for transfers"):
        found = [each for digest in _partials(layout.partials) if (each := _unfinished(layout, digest))]
        readers = readers_by_digest(layout) if found else {}
    found = [replace(each, readers=readers.get(str(each.digest), 0)) for each in found]
    return sorted(found, key=lambda each: (not each.running, -each.bytes, each.digest.hex))


def blobs_in_pieces(layout: Layout) -> list[StoredBlob]:
    """Return the blobs of which there are ranges, each with the bytes allocated for them. Raises StoreError."""
    found: dict[Digest, StoredBlob] = {}
    with disk.store_errors("look for pieces of blobs"):
        for digest, path in stored_pieces(layout):
            stat = disk.stat(path)
            if stat:
                before = found.get(digest, StoredBlob(digest, 0, 0))
                size = before.size + stat.st_blocks * disk.BLOCK
                found[digest] = StoredBlob(digest, size, max(before.used, last_use(stat)))
    return list(found.values())


def size_of(layout: Layout, digest: Digest) -> int:
    """Return how many bytes of a blob are here, whole or unfinished."""
    for path in (layout.blob(digest), layout.partial(digest)):
        with contextlib.suppress(OSError):
            return os.stat(path).st_size
    return 0


def disk_space(path: str) -> DiskSpace:
    """Return the room of the file system that holds ``path``, or will when it is made. Raises StoreError."""
    with disk.store_errors(f"ask for the room under {path}"):
        found = os.statvfs(existing(path))
    # f_bavail: what is reserved for root is not free to a server that is not root.
    return DiskSpace(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


def existing(path: str) -> str:
    """Return ``path``, or the nearest folder above it that exists."""
    while not os.path.exists(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


def _unfinished(layout: Layout, digest: Digest) -> Unfinished | None:
    # The lock before the bytes: the other way round, a transfer that ends in between would look interrupted.
    running = locks.is_locked(layout.lock(digest))
    try:
        found = os.stat(layout.partial(digest))
    except FileNotFoundError:
        return None
    status = Partials(layout).status(digest)
    if status is None:
        return Unfinished(digest, found.st_size, running, used=last_use(found))
    # Of a leader that has just begun, the last one's failure may still be here.
    error = status.error.message if status.error and not running else ""
    used = last_use(found)
    return Unfinished(digest, found.st_size, running, status.size, *status.owner, error, used, status.at)


def _partials(folder: str) -> Iterator[Digest]:
    for algorithm in ALGORITHMS:
        for entry in entries(f"{folder}/{algorithm}"):
            with contextlib.suppress(DigestInvalid):  # A status.
                yield Digest.parse(f"{algorithm}:{entry.name}")


def _count_repositories(layout: Layout) -> tuple[int, int, set[tuple[str, str]]]:
    """Return how many repositories and tags there are, and (algorithm, hex) of every manifest."""
    count = tags = 0
    manifests: set[tuple[str, str]] = set()
    for folder in repositories(layout):
        count += folder.has_content()
        tags += len(folder.tags())
        for entry in folder.manifest_records():
            manifests.add((os.path.basename(os.path.dirname(entry.path)), entry.name.removesuffix(".json")))
    return count, tags, manifests
