"""What a store holds, as seen by somebody who only looks: nothing is made, written or kept locked.

Counted from names: each folder of records is read once, each blob has one stat, however many repositories contain it.
What comes or goes meanwhile is counted or not.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from registry_cache.errors import DigestInvalid
from registry_cache.oci.digest import Digest
from registry_cache.store import disk, locks
from registry_cache.store.last_use import StoredBlob, entries, last_use
from registry_cache.store.layout import ALGORITHMS, Layout
from registry_cache.store.partials import Partials

# What a file occupies is told in units of this, whatever its file system's blocks are (stat(2)).
_BLOCK = 512


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

    ``upstream`` and ``repository`` are the last leader's, "" where it had not told them; ``error`` is what ended it.
    Last ``used`` then, in nanoseconds since the epoch.
    """

    digest: Digest
    bytes: int
    running: bool
    size: int | None = None
    upstream: str = ""
    repository: str = ""
    error: str = ""
    # A moment: two that differ in nothing else are the same.
    used: int = field(default=0, compare=False)

    @property
    def stored(self) -> StoredBlob:
        """What is here of it, as what may be evicted."""
        return StoredBlob(self.digest, self.bytes, self.used)


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """Bytes of a file system, and how many of them are free to us."""

    total: int
    free: int


def count(layout: Layout) -> StoreCounts:
    """Count what is cached. Raises StoreError."""
    with disk.store_errors("count what is cached"):
        repositories, tags, manifests = _count_repositories(layout.repositories)
        files = found_manifests = size = allocated = 0
        for digest, entry in _blobs(layout.blobs):
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            files += 1
            found_manifests += digest in manifests
            size += found.st_size
            allocated += found.st_blocks * _BLOCK
    return StoreCounts(repositories, tags, len(manifests), files - found_manifests, size, allocated)


def unfinished(layout: Layout) -> list[Unfinished]:
    """Return the transfers that run and those that were interrupted, largest first. Raises StoreError."""
    with disk.store_errors("look for transfers"):
        found = [_unfinished(layout, digest) for digest in _partials(layout.partials)]
    return sorted((each for each in found if each), key=lambda each: (not each.running, -each.bytes, each.digest.hex))


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
    # The lock before the bytes: asked the other way round, a transfer that ends in between looked interrupted.
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
    return Unfinished(
        digest, found.st_size, running, status.size, status.upstream, status.repository, error, last_use(found)
    )


def _partials(folder: str) -> Iterator[Digest]:
    for algorithm in ALGORITHMS:
        for entry in entries(f"{folder}/{algorithm}"):
            try:
                yield Digest.parse(f"{algorithm}:{entry.name}")
            except DigestInvalid:
                continue  # a status


def _blobs(folder: str) -> Iterator[tuple[tuple[str, str], os.DirEntry[str]]]:
    """Yield ((algorithm, hex), entry) of every blob."""
    for algorithm in ALGORITHMS:
        for letters in entries(f"{folder}/{algorithm}"):
            for entry in entries(letters.path):
                # One that is being written begins with a dot.
                if not entry.name.startswith("."):
                    yield (algorithm, entry.name), entry


def _count_repositories(folder: str) -> tuple[int, int, set[tuple[str, str]]]:
    """Return how many repositories and tags there are, and (algorithm, hex) of every manifest."""
    repositories = tags = 0
    manifests: set[tuple[str, str]] = set()
    pending = [folder]
    while pending:
        here = {entry.name: entry for entry in entries(pending.pop())}
        pending += [
            entry.path
            for name, entry in here.items()
            if not name.startswith(("_", ".")) and entry.is_dir(follow_symlinks=False)
        ]
        # What has had a tag or a manifest; a folder left empty goes with the next cleanup.
        repositories += "_tags" in here or "_manifests" in here
        tags += len(list(_records(here.get("_tags"))))
        for algorithm in entries(here["_manifests"].path) if "_manifests" in here else []:
            manifests |= {(algorithm.name, name) for name in _records(algorithm)}
    return repositories, tags, manifests


def _records(folder: os.DirEntry[str] | None) -> Iterator[str]:
    """Yield what the records in a folder are of; a record that is being written begins with a dot."""
    for entry in entries(folder.path) if folder else []:
        if entry.name.endswith(".json") and not entry.name.startswith("."):
            yield entry.name.removesuffix(".json")
