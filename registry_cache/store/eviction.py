"""Evict what is no longer wanted: names before what they name, under the lock of each digest.

Safe at any time, beside any number of workers, and killed anywhere: what is left is a smaller store. A reader keeps its
descriptor; the next request fetches the blob again.

``should_evict(used, hex)`` tells whether to evict what was last used then; ``tick`` is called at each step and may
raise to stop.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from registry_cache.errors import DigestInvalid
from registry_cache.oci.digest import Digest
from registry_cache.oci.media_types import KINDS
from registry_cache.store import disk, locks, piece_files, quarantine, record_format
from registry_cache.store.disk import entries, last_use
from registry_cache.store.last_use import StoredBlob, Tick
from registry_cache.store.layout import ALGORITHMS, Layout
from registry_cache.store.repositories import RepositoryFolder, record_of, repositories

ShouldEvict = Callable[[int, str], bool]

# Seconds after which cleanup removes files that a crash left beside their targets, locks without a holder, failures and
# empty folders.
LEFTOVER_SECONDS = 3600
# An interrupted download that nobody has asked for this long is not going to be resumed.
ORPHAN_SECONDS = 86_400

_NS = 10**9


def evict_names(layout: Layout, should_evict: ShouldEvict, before: int, tick: Tick) -> Iterator[str]:
    """Unlink what repositories hold of evicted blobs; yield each name. Raises OSError.

    Also tags that then lead to nothing and referrers' answers, if older than ``before``. A tag's age is the time since
    upstream was last asked for it. A name goes before what it names: wherever this stops, no name leads to something
    that it has evicted.
    """
    for folder in repositories(layout):
        yield from _evict_tags(folder, should_evict, before, tick)
        for entry in folder.referrers():
            tick()
            if _is_older(entry, before):
                yield from _remove(entry.path)
        # An index before the manifests that it names.
        yield from _evict_manifests(folder, should_evict, tick, index=True)
        yield from _evict_manifests(folder, should_evict, tick, index=False)
        for entry in folder.lost_records():
            yield from _remove(entry.path)
        for _, entry in folder.memberships():
            tick()
            if should_evict(_last_use_of_target(entry), entry.name):
                yield from _remove(entry.path)


def evict_blob(layout: Layout, blob: StoredBlob, should_evict: ShouldEvict) -> bool:
    """Unlink a blob, unless somebody holds its lock or has used it since. Raises OSError.

    A name that a repository was given meanwhile stays: it is as good as this one, and is evicted when it is not used.
    """
    path = layout.blob(blob.digest)
    with locks.hold_if_free(layout.lock(blob.digest)) as held:
        return held and _evict_if(path, blob.digest, should_evict)


def evict_partial(layout: Layout, blob: StoredBlob, should_evict: ShouldEvict) -> bool:
    """Unlink an interrupted download, unless somebody has resumed it. Raises OSError."""
    with locks.hold_if_free(layout.lock(blob.digest)) as held:
        evicted = held and _evict_if(layout.partial(blob.digest), blob.digest, should_evict)
        if evicted:
            disk.remove(layout.status(blob.digest))
        return evicted


def evict_pieces(layout: Layout, blob: StoredBlob, should_evict: ShouldEvict) -> bool:
    """Unlink the pieces of a blob, unless somebody fetches some or has used them since. Raises OSError."""
    with locks.hold_if_free(layout.lock(blob.digest)) as held:
        found = piece_files.paths(layout, blob.digest) if held else []
        gone = [piece_files.evict_if_free(path, lambda used: should_evict(used, blob.digest.hex)) for path in found]
        return held and all(gone)


def sweep(layout: Layout, now: int, tick: Tick) -> Iterator[str]:
    """Unlink what crashes left: half-written files, partials, pieces, failures, locks, empty folders. Yield each.

    Also what has been in the quarantine for its time. Raises OSError.
    """
    before = now - LEFTOVER_SECONDS * _NS
    for folder in _written_folders(layout):
        tick()
        for entry in entries(folder):
            if entry.name.startswith(".") and entry.is_file(follow_symlinks=False) and _is_older(entry, before):
                yield from _remove(entry.path)
    for algorithm in ALGORITHMS:
        for name in sorted({entry.name.partition(".")[0] for entry in entries(f"{layout.partials}/{algorithm}")}):
            tick()
            with contextlib.suppress(DigestInvalid):
                yield from _sweep_partial(layout, Digest.parse(f"{algorithm}:{name}"), now)
    for digest, path in piece_files.stored_pieces(layout):
        tick()
        # Whoever made the blob whole in another way than by a download has left them.
        if os.path.exists(layout.blob(digest)):
            yield from _remove(path)
    for name in (*ALGORITHMS, "flights", "readers"):
        for entry in entries(f"{layout.locks}/{name}"):
            tick()
            if _is_older(entry, before):
                with locks.hold_if_free(entry.path) as held:
                    if held:
                        yield entry.path
    yield from quarantine.expire(layout, now / _NS, tick)
    for entry in entries(layout.repositories):
        yield from _sweep_folders(entry.path, before, tick)


def _evict_tags(folder: RepositoryFolder, should_evict: ShouldEvict, before: int, tick: Tick) -> Iterator[str]:
    for entry in folder.tags():
        tick()
        if _is_older(entry, before) and _leads_to_nothing(folder, entry.path, should_evict):
            yield from _remove(entry.path)


def _evict_manifests(folder: RepositoryFolder, should_evict: ShouldEvict, tick: Tick, index: bool) -> Iterator[str]:
    for entry, digest, kind in folder.manifests():
        if kind.endswith("-index") is index:
            tick()
            if should_evict(_last_use_of_target(entry), digest.hex):
                # The record is what makes the manifest known, so it goes first.
                yield from _remove(record_of(entry.path))
                yield from _remove(entry.path)


def _evict_if(path: str, digest: Digest, should_evict: ShouldEvict) -> bool:
    """Look a second time, under the lock: a pull may have come between the plan and here."""
    try:
        return should_evict(last_use(os.stat(path, follow_symlinks=False)), digest.hex) and disk.remove(path)
    except FileNotFoundError:
        return False


def _sweep_partial(layout: Layout, digest: Digest, now: int) -> Iterator[str]:
    """Remove what is left of a download that is not going to be resumed, or its failure."""
    if not _is_abandoned(layout, digest, now):
        return
    with locks.hold_if_free(layout.lock(digest)) as held:
        # A second look under the lock: somebody may have resumed it.
        if held and _is_abandoned(layout, digest, now):
            yield from _remove(layout.partial(digest))
            yield from _remove(layout.status(digest))


def _is_abandoned(layout: Layout, digest: Digest, now: int) -> bool:
    partial, status = disk.stat(layout.partial(digest)), disk.stat(layout.status(digest))
    seconds = ORPHAN_SECONDS if partial else LEFTOVER_SECONDS
    latest = max((found.st_mtime_ns for found in (partial, status) if found), default=now)
    return latest <= now - seconds * _NS


def _sweep_folders(folder: str, before: int, tick: Tick) -> Iterator[str]:
    """Remove the folders without a file, the deepest first."""
    tick()
    found = disk.stat(folder)
    if found is None:
        return
    for entry in entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _sweep_folders(entry.path, before, tick)
    # Not a new one: a pull makes a folder just before it writes into it.
    if found.st_mtime_ns <= before and _remove_folder(folder):
        yield folder


def _remove_folder(path: str) -> bool:
    try:
        os.rmdir(path)
    except OSError:  # Gone, not empty, or somebody is just writing into it.
        return False
    return True


def _remove(path: str) -> Iterator[str]:
    if disk.remove(path):
        yield path


def _last_use_of_target(entry: os.DirEntry[str]) -> int:
    """Return when the bytes behind a name, which may be a symbolic link, were last used."""
    try:
        return last_use(os.stat(entry.path))
    except FileNotFoundError:
        # A dangling link counts as the oldest.
        return -1


def _is_older(entry: os.DirEntry[str], moment: int) -> bool:
    try:
        return entry.stat(follow_symlinks=False).st_mtime_ns <= moment
    except FileNotFoundError:
        return False


def _leads_to_nothing(folder: RepositoryFolder, path: str, should_evict: ShouldEvict) -> bool:
    """Tell whether the manifest that a tag's record names is being evicted, or is gone from its repository."""
    digest = record_format.tag_digest(disk.read_whole(path))
    if digest and os.path.exists(folder.manifest(digest, "json")):
        for kind in KINDS:
            with contextlib.suppress(FileNotFoundError):
                return should_evict(last_use(os.stat(folder.manifest(digest, kind))), digest.hex)
    return True


def _written_folders(layout: Layout) -> Iterator[str]:
    """Yield the folders in which files are written beside their targets."""
    yield from (layout.root, layout.upstreams, layout.statistics)
    yield from (f"{layout.statistics}/{name}" for name in ("days", "incoming"))
    for upstream in entries(layout.pieces):
        yield from (f"{upstream.path}/{algorithm}" for algorithm in ALGORITHMS)
    for algorithm in ALGORITHMS:
        yield f"{layout.partials}/{algorithm}"
        yield from (letters.path for letters in entries(f"{layout.blobs}/{algorithm}"))
    pending = [layout.repositories]
    while pending:
        found = [entry.path for entry in entries(pending.pop()) if entry.is_dir(follow_symlinks=False)]
        yield from found
        pending += found
