"""The removal of what is no longer wanted: names before what they name, under the lock of each digest.

Safe at any time, beside any number of workers, and killed anywhere: what is left is a smaller store. Whoever reads
keeps his descriptor; whoever asks next fetches anew.

``goes(used, hex)`` tells whether what was last used then goes. ``tick`` is called at each step and may raise to stop.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator

from registry_cache.errors import DigestInvalid
from registry_cache.oci.digest import Digest
from registry_cache.oci.media_types import KINDS
from registry_cache.store import disk, locks, quarantine
from registry_cache.store.last_use import StoredBlob, Tick, entries, last_use, named_manifests, repositories
from registry_cache.store.layout import ALGORITHMS, Layout

ShouldEvict = Callable[[int, str], bool]

# Files that a crash left beside their targets, locks without a holder, failures and empty folders go after this many
# seconds.
LEFTOVER_SECONDS = 3600
# An interrupted download that nobody has asked for this long is not going to be resumed.
ORPHAN_SECONDS = 86_400

_NS = 10**9


def evict_names(layout: Layout, goes: ShouldEvict, before: int, tick: Tick) -> Iterator[str]:
    """Unlink what repositories hold of blobs that go; yield each name. Raises OSError.

    And tags that lead to nothing then, and referrers' answers, that are older than ``before``. A tag's age is the time
    since upstream was last asked for it. What names something goes before it: wherever this ends, nothing leads to
    what this has taken.
    """
    for folder in repositories(layout):
        yield from _evict_tags(folder, goes, before, tick)
        yield from _evict_referrers(folder, before, tick)
        # An index before the manifests that it names.
        yield from _evict_manifests(folder, goes, tick, index=True)
        yield from _evict_manifests(folder, goes, tick, index=False)
        yield from _remove_lost(folder)
        for algorithm in entries(f"{folder}/_blobs"):
            for entry in entries(algorithm.path):
                tick()
                if goes(_used(entry), entry.name) and disk.remove(entry.path):
                    yield entry.path


def evict_blob(layout: Layout, blob: StoredBlob, goes: ShouldEvict) -> bool:
    """Unlink a blob, unless somebody holds its lock or has used it since. Raises OSError.

    A name that a repository was given meanwhile stays: it is as good as this one, and goes when it is not used.
    """
    path = layout.blob(blob.digest)
    with locks.hold_if_free(layout.lock(blob.digest)) as held:
        try:
            # A second look under the lock: a pull may have come between the plan and here.
            return held and goes(last_use(os.stat(path, follow_symlinks=False)), blob.digest.hex) and disk.remove(path)
        except FileNotFoundError:
            return False


def evict_partial(layout: Layout, blob: StoredBlob, goes: ShouldEvict) -> bool:
    """Unlink what is here of an interrupted download, unless somebody has gone on with it. Raises OSError."""
    path = layout.partial(blob.digest)
    with locks.hold_if_free(layout.lock(blob.digest)) as held:
        try:
            gone = held and goes(last_use(os.stat(path)), blob.digest.hex) and disk.remove(path)
        except FileNotFoundError:
            return False
        if gone:
            disk.remove(layout.status(blob.digest))
        return gone


def sweep(layout: Layout, now: int, tick: Tick) -> Iterator[str]:
    """Unlink what crashes left: half-written files, partials, failures, locks; then empty folders. Yield each.

    What has been in the quarantine for its time goes, too. Raises OSError.
    """
    before = now - LEFTOVER_SECONDS * _NS
    for folder in _written_folders(layout):
        tick()
        for entry in entries(folder):
            if entry.name.startswith(".") and entry.is_file(follow_symlinks=False) and _older(entry, before):
                yield from _removed(entry.path)
    for algorithm in ALGORITHMS:
        names = {entry.name.partition(".")[0] for entry in entries(f"{layout.partials}/{algorithm}")}
        for name in sorted(names):
            tick()
            with contextlib.suppress(DigestInvalid):
                yield from _sweep_partial(layout, Digest.parse(f"{algorithm}:{name}"), now)
    for folder in (*(f"{layout.locks}/{algorithm}" for algorithm in ALGORITHMS), f"{layout.locks}/flights"):
        for entry in entries(folder):
            tick()
            if _older(entry, before):
                yield from _sweep_lock(entry.path)
    yield from quarantine.expire(layout, now / _NS, tick)
    for entry in entries(layout.repositories):
        yield from _sweep_folders(entry.path, before, tick)


def _evict_tags(folder: str, goes: ShouldEvict, before: int, tick: Tick) -> Iterator[str]:
    for entry in entries(f"{folder}/_tags"):
        tick()
        if _is_record(entry) and _older(entry, before) and _leads_to_nothing(folder, entry.path, goes):
            yield from _removed(entry.path)


def _evict_referrers(folder: str, before: int, tick: Tick) -> Iterator[str]:
    for algorithm in entries(f"{folder}/_referrers"):
        for entry in entries(algorithm.path):
            tick()
            if _is_record(entry) and _older(entry, before):
                yield from _removed(entry.path)


def _evict_manifests(folder: str, goes: ShouldEvict, tick: Tick, index: bool) -> Iterator[str]:
    for entry, digest, kind in named_manifests(folder):
        if kind.endswith("-index") is index:
            tick()
            if goes(_used(entry), digest.hex):
                # The record is what makes the manifest known, so it goes first.
                yield from _removed(entry.path.removesuffix(kind) + "json")
                yield from _removed(entry.path)


def _remove_lost(folder: str) -> Iterator[str]:
    """Unlink records whose manifest is gone; yield each."""
    for algorithm in entries(f"{folder}/_manifests"):
        # Bytes come before records, so a record that was here before this look has lost its manifest.
        records = [entry for entry in entries(algorithm.path) if entry.name.endswith(".json") and _is_record(entry)]
        stems = {entry.name.partition(".")[0] for entry in entries(algorithm.path) if not entry.name.endswith(".json")}
        for entry in records:
            if entry.name.removesuffix(".json") not in stems:
                yield from _removed(entry.path)


def _sweep_partial(layout: Layout, digest: Digest, now: int) -> Iterator[str]:
    """Remove what a download left that is not going to be resumed, or how it failed."""
    if not _given_up(layout, digest, now):
        return
    with locks.hold_if_free(layout.lock(digest)) as held:
        # A second look under the lock: somebody may have gone on with it.
        if held and _given_up(layout, digest, now):
            yield from _removed(layout.partial(digest))
            yield from _removed(layout.status(digest))


def _given_up(layout: Layout, digest: Digest, now: int) -> bool:
    times = {}
    for path in (layout.partial(digest), layout.status(digest)):
        with contextlib.suppress(FileNotFoundError):
            times[path] = os.stat(path).st_mtime_ns
    seconds = ORPHAN_SECONDS if layout.partial(digest) in times else LEFTOVER_SECONDS
    return max(times.values(), default=now) <= now - seconds * _NS


def _sweep_lock(path: str) -> Iterator[str]:
    with locks.hold_if_free(path) as held:
        if held:
            yield path


def _sweep_folders(folder: str, before: int, tick: Tick) -> Iterator[str]:
    """Remove the folders without a file, the deepest first."""
    tick()
    try:
        # Not a new one: a pull makes a folder just before it writes into it.
        old = os.stat(folder).st_mtime_ns <= before
    except FileNotFoundError:
        return
    for entry in entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _sweep_folders(entry.path, before, tick)
    if old and _remove_folder(folder):
        yield folder


def _remove_folder(path: str) -> bool:
    try:
        os.rmdir(path)
    except OSError:  # Gone, not empty, or somebody is just writing into it.
        return False
    return True


def _removed(path: str) -> Iterator[str]:
    if disk.remove(path):
        yield path


def _is_record(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".")


def _used(entry: os.DirEntry[str]) -> int:
    """Return when the bytes behind a name were last used: through a symbolic link, those it leads to."""
    try:
        return last_use(os.stat(entry.path))
    except FileNotFoundError:
        # A dangling link is as old as can be.
        return -1


def _older(entry: os.DirEntry[str], moment: int) -> bool:
    try:
        return entry.stat(follow_symlinks=False).st_mtime_ns <= moment
    except FileNotFoundError:
        return False


def _leads_to_nothing(folder: str, path: str, goes: ShouldEvict) -> bool:
    """Tell whether the manifest that a tag's record names goes, or is gone from its repository."""
    try:
        digest = Digest.parse(json.loads(disk.read_whole(path) or b"{}")["digest"])
    except (DigestInvalid, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return True
    stem = f"{folder}/_manifests/{digest.algorithm}/{digest.hex}"
    if os.path.exists(f"{stem}.json"):
        for kind in KINDS:
            with contextlib.suppress(FileNotFoundError):
                return goes(last_use(os.stat(f"{stem}.{kind}")), digest.hex)
    return True


def _written_folders(layout: Layout) -> Iterator[str]:
    """Yield the folders that files are written beside their targets in."""
    yield from (layout.root, os.path.dirname(layout.notice("any")))
    for algorithm in ALGORITHMS:
        yield f"{layout.partials}/{algorithm}"
        yield from (letters.path for letters in entries(f"{layout.blobs}/{algorithm}"))
    yield from _folders(layout.repositories)


def _folders(root: str) -> Iterator[str]:
    pending = [root]
    while pending:
        found = [entry.path for entry in entries(pending.pop()) if entry.is_dir(follow_symlinks=False)]
        yield from found
        pending += found
