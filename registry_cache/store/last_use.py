"""When blobs were last used; a manifest's use counts as its children's: clients that have them ask for it alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from registry_cache.errors import DigestInvalid
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import MAX_MANIFEST_SIZE, parse_manifest
from registry_cache.store import disk, record_format
from registry_cache.store.disk import entries, last_use
from registry_cache.store.layout import ALGORITHMS, Layout
from registry_cache.store.repositories import record_of, repositories

# An index of indexes is legal and rare; what is nested deeper keeps its own use.
_DEPTH = 3

Tick = Callable[[], None]


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob under ``blobs/``: ``size`` in bytes, last ``used`` then, in nanoseconds since the epoch."""

    digest: Digest
    size: int
    used: int


def stored_blobs(layout: Layout) -> Iterator[tuple[Digest, os.DirEntry[str]]]:
    """Yield every blob; what comes or goes meanwhile may be missed. Raises OSError."""
    for algorithm in ALGORITHMS:
        for letters in entries(f"{layout.blobs}/{algorithm}"):
            for entry in entries(letters.path):
                # The name of one that is being written is no digest.
                with contextlib.suppress(DigestInvalid):
                    yield Digest.parse(f"{algorithm}:{entry.name}"), entry


def used_since(layout: Layout, since: float) -> Iterator[Digest]:
    """Yield the blobs that were used after ``since``, in seconds since the epoch. Raises StoreError."""
    with disk.store_errors("look which blobs are used"):
        for digest, entry in stored_blobs(layout):
            found = disk.stat(entry.path)
            if found and last_use(found) > since * 10**9:
                yield digest


class UseSpreader:
    """Hands on every manifest's use to its children.

    Costs two stats a manifest; a record is read only if its manifest was used since the last time. In a ``dry_run``
    nothing on the disk changes; the changes are remembered instead.

    A use that is noted at ``now`` counts even where a later one is known, if that is more than ``ahead`` later: it was
    noted by a clock that was wrong. Both in nanoseconds.
    """

    def __init__(self, layout: Layout, dry_run: bool = False, now: int = 0, ahead: int = 0) -> None:
        self._layout = layout
        self._dry_run = dry_run
        self._now = now
        self._ahead = ahead
        self._raised: dict[int, int] = {}

    def run(self, tick: Tick = lambda: None) -> None:
        """Hand on all uses; calls ``tick`` at each manifest. Raises OSError."""
        # The indexes of all repositories first: one may name a manifest that only another repository has.
        for _ in range(_DEPTH):
            if not self._hand_on_all(tick, index=True):
                break
        self._hand_on_all(tick, index=False)

    def note_use(self, digest: Digest, moment: int) -> bool:
        """Note that a blob was used at ``moment``; its children follow with the next ``run``. Raises OSError.

        False where the blob is missing or was used later.
        """
        path = self._layout.blob(digest)
        try:
            if self._stays(self._last_use(digest, os.stat(path)), moment):
                return False
            if self._dry_run:
                self._raised[short_key(digest.hex)] = moment
            else:
                os.utime(path, ns=(moment, moment))
        except FileNotFoundError:
            return False
        return True

    def note_manifest(self, digest: Digest, blob: Digest, moment: int) -> None:
        """Note a use of a manifest whose bytes are the ``blob``, of another name if it is signed. Raises OSError."""
        if self._dry_run and blob != digest:
            # On the disk they are one file.
            self._raised[short_key(digest.hex)] = moment
        self.note_use(blob, moment)

    def blobs(self, tick: Tick = lambda: None) -> Iterator[StoredBlob]:
        """Yield every blob, with one stat each. Raises OSError."""
        for digest, entry in stored_blobs(self._layout):
            tick()
            with contextlib.suppress(FileNotFoundError):
                found = entry.stat(follow_symlinks=False)
                yield StoredBlob(digest, found.st_size, self._last_use(digest, found))

    def _hand_on_all(self, tick: Tick, index: bool) -> bool:
        """Hand on the use of all indexes, or of all others; True if some child was used less recently."""
        raised = False
        for folder in repositories(self._layout):
            for entry, digest, kind in folder.manifests():
                if kind.endswith("-index") is index:
                    tick()
                    raised |= self._hand_on(entry.path, digest)
        return raised

    def _hand_on(self, path: str, digest: Digest) -> bool:
        record = record_of(path)
        try:
            used = self._last_use(digest, os.stat(path))
            # The record's mtime is the use that was handed on last.
            if used == os.stat(record).st_mtime_ns:
                return False
            raised = [self.note_use(child, used) for child in children_of(path, record)]
            if not self._dry_run:
                os.utime(record, ns=(used, used))
        except FileNotFoundError:
            # It is being evicted, or has been in part.
            return False
        return any(raised)

    def _last_use(self, digest: Digest, found: os.stat_result) -> int:
        known, raised = last_use(found), self._raised.get(short_key(digest.hex), 0) if self._raised else 0
        return known if self._stays(known, raised) else raised

    def _stays(self, known: int, moment: int) -> bool:
        """Tell whether the use that is ``known`` is still the last where there was one at ``moment``."""
        is_wrong = 0 < moment == self._now and known > moment + self._ahead
        return known >= moment and not is_wrong


def children_of(path: str, record: str) -> list[Digest]:
    """Return what the manifest at ``path`` names, by its ``record``, or by itself if a power cut has torn that.

    Otherwise an image that stays would lose its layers. Nothing of one that cannot be read. Raises OSError.
    """
    known = record_format.read_manifest(disk.read_whole(record))
    if known:
        return [child.digest for child in known[1]]
    try:
        # To look into it must not be a use of it, and is for its owner alone.
        with os.fdopen(disk.open_file(path, os.O_RDONLY | os.O_NOATIME), "rb") as file:
            found = parse_manifest(file.read(MAX_MANIFEST_SIZE))
    except OSError:
        return []
    return [child.digest for child in (*found.manifests, *found.blobs)]


def short_key(hex: str) -> int:
    """Return what stands for a digest in a large set: a million take 32 MB where digests take 250.

    A collision makes a dry run a little less exact, or lets a blob stay.
    """
    return int(hex[:15], 16)
