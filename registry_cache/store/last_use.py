"""When was something last used? The inode knows: the newer of its atime and its mtime.

``relatime`` keeps atime to the day for every reader, nginx too; we touch mtime, once a minute, where we serve. All
names of a blob are one inode, so its use in any repository is its use in all. A manifest's use is its children's, too:
``UseSpreader`` carries it on, because a client that has the layers asks for the manifest alone.

Moments are nanoseconds since the epoch. One in the future (a clock was put back) is the newest there is.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from registry_cache.errors import DigestInvalid
from registry_cache.oci.digest import Digest
from registry_cache.store import disk
from registry_cache.store.layout import ALGORITHMS, Layout

# Exact enough to tell what goes first where a store turns over within hours; a write a minute for a blob that is asked
# for a thousand times a second.
TOUCH_SECONDS = 60

# The mtime of a manifest's record is the use that has been handed on. A new record has handed on none, although its
# manifest may be as old as the first repository that brought it.
NEVER = 0

# An index of indexes is legal and rare; what is nested deeper keeps its own use.
_DEPTH = 3

Tick = Callable[[], None]


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob under ``blobs/``: ``size`` in bytes, last ``used`` then."""

    digest: Digest
    size: int
    used: int


def last_use(found: os.stat_result) -> int:
    """Return when the file was last used."""
    return max(found.st_atime_ns, found.st_mtime_ns)


def due(found: os.stat_result) -> bool:
    """Tell whether the next use of a file will be noted."""
    return time.time() - found.st_mtime > TOUCH_SECONDS


def touch(file: int | str, found: os.stat_result) -> None:
    """Note, at most once a minute, that ``file``, a descriptor or a path, is used; ``found`` was just asked of it."""
    if due(found):
        # A store mounted read-only, or another owner's file: a hit is worth more than its time of use.
        with contextlib.suppress(OSError):
            os.utime(file)


def entries(folder: str) -> list[os.DirEntry[str]]:
    """Return what is in a folder; nothing where there is no such folder. Raises OSError."""
    try:
        with os.scandir(folder) as found:
            return list(found)
    except (FileNotFoundError, NotADirectoryError):
        return []


def repositories(layout: Layout) -> Iterator[str]:
    """Yield the folder of every repository of every upstream, parts before the whole. Raises OSError."""
    pending = [entry.path for entry in entries(layout.repositories)]
    while pending:
        folder = pending.pop()
        found = [entry for entry in entries(folder) if not entry.name.startswith(".")]
        if any(entry.name.startswith("_") for entry in found):
            yield folder
        pending += [entry.path for entry in found if not entry.name.startswith("_")]


def named_manifests(folder: str) -> Iterator[tuple[os.DirEntry[str], Digest, str]]:
    """Yield (entry, digest, kind) of every name of a manifest in a repository's folder. Raises OSError."""
    for algorithm in entries(f"{folder}/_manifests"):
        for entry in entries(algorithm.path):
            stem, _, kind = entry.name.partition(".")
            if kind and kind != "json":
                with contextlib.suppress(DigestInvalid):
                    yield entry, Digest.parse(f"{algorithm.name}:{stem}"), kind


class UseSpreader:
    """Carries every manifest's use on to its children.

    Costs two stats a manifest; its record is read only where it was used since the last time. In a ``dry_run``
    nothing on the disk changes, and what would have is remembered.
    """

    def __init__(self, layout: Layout, dry_run: bool = False) -> None:
        self._layout = layout
        self._dry_run = dry_run
        self._raised: dict[int, int] = {}

    def run(self, tick: Tick = lambda: None) -> None:
        """Spread all there is; calls ``tick`` at each manifest. Raises OSError."""
        # Of every repository the indexes first: an index of one may name a manifest that only another one has.
        for _ in range(_DEPTH):
            if not self._round(tick, index=True):
                break
        self._round(tick, index=False)

    def note_use(self, digest: Digest, moment: int) -> None:
        """Let a blob that is here have been used at ``moment``, its children with the next ``run``. Raises OSError."""
        self._raise(digest, moment)

    def blobs(self, tick: Tick = lambda: None) -> Iterator[StoredBlob]:
        """Yield every blob, one stat each; what comes or goes meanwhile may be missed. Raises OSError."""
        for algorithm in ALGORITHMS:
            for letters in entries(f"{self._layout.blobs}/{algorithm}"):
                for entry in entries(letters.path):
                    tick()
                    with contextlib.suppress(DigestInvalid, FileNotFoundError):
                        digest = Digest.parse(f"{algorithm}:{entry.name}")
                        found = entry.stat(follow_symlinks=False)
                        yield StoredBlob(digest, found.st_size, self._used(digest, found))

    def _round(self, tick: Tick, index: bool) -> bool:
        """Hand on the use of all indexes, or of all others; True if some child was used less recently."""
        raised = False
        for folder in repositories(self._layout):
            for entry, digest, kind in named_manifests(folder):
                if kind.endswith("-index") is index:
                    tick()
                    raised |= self._hand_on(entry.path, digest, entry.path.removesuffix(kind) + "json")
        return raised

    def _hand_on(self, path: str, digest: Digest, record: str) -> bool:
        try:
            used = self._used(digest, os.stat(path))
            if used == os.stat(record).st_mtime_ns:
                return False
            raised = [self._raise(child, used) for child in _children(record)]
            if not self._dry_run:
                os.utime(record, ns=(used, used))
        except FileNotFoundError:
            # It is being evicted, or has been in part.
            return False
        return any(raised)

    def _raise(self, child: Digest, used: int) -> bool:
        path = self._layout.blob(child)
        try:
            if self._used(child, os.stat(path)) >= used:
                return False
            if not self._dry_run:
                os.utime(path, ns=(used, used))
            else:
                self._raised[_key(child)] = used
        except FileNotFoundError:
            return False
        return True

    def _used(self, digest: Digest, found: os.stat_result) -> int:
        return max(last_use(found), self._raised.get(_key(digest), 0)) if self._raised else last_use(found)


def _children(record: str) -> list[Digest]:
    """Return the children that a manifest's record tells; none of one that is torn. Raises OSError."""
    found = []
    try:
        for name, _ in json.loads(disk.read_whole(record) or b"{}").get("children", []):
            found.append(Digest.parse(name))
    except (DigestInvalid, ValueError, TypeError, AttributeError, RecursionError):
        return []
    return found


def _key(digest: Digest) -> int:
    """A million of these take 32 MB where digests take 250; two that are equal make a dry run tell a little less."""
    return int(digest.hex[:15], 16)
