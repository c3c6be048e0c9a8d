"""Examine everything stored and report faults. It changes nothing; whoever gets a report may repair at once.

These are no faults, because a live store or a crash leaves them:
- a child that is missing: nobody pulled that platform or that layer, and the next pull fetches it. It is counted;
- a repository's name of bytes that are not the blob's file: the blob was evicted, or fetched again, and the name
  stayed. They are re-hashed where they lie;
- a manifest without its record: a crash came between the two, and the next pull writes it;
- a tag whose manifest is missing: it was asked for and not pulled;
- names that begin with a dot: files that are being written, which cleanup removes when they are old.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from registry_cache.oci.digest import Digest
from registry_cache.oci.media_types import KINDS, kind_of
from registry_cache.oci.names import FullName, Repository, Tag
from registry_cache.store import disk, locks, piece_files, record_format
from registry_cache.store.audit import file_names, rehash
from registry_cache.store.audit.fault import Fault, Kind
from registry_cache.store.audit.scan import Covers, Scan
from registry_cache.store.blobs import Blobs
from registry_cache.store.last_use import Tick
from registry_cache.store.layout import MANIFESTS, MEMBERSHIPS, REFERRERS, TAGS, Layout
from registry_cache.store.record_format import Child
from registry_cache.store.records import Records
from registry_cache.store.repositories import RepositoryFolder

_IMAGES = {kind for kind in KINDS if kind.endswith("-manifest")}
_LETTERS = 256


@dataclass(slots=True)
class AuditCounts:
    """What was examined: ``files`` of ``bytes`` re-hashed, and ``names``.

    ``apart``: of the files, those that are not a blob's. ``incomplete``: images that lack children, ``missing`` in all.
    """

    files: int = 0
    bytes: int = 0
    names: int = 0
    apart: int = 0
    incomplete: int = 0
    missing: int = 0


class AuditWalk:
    """One walk. ``covers`` tells by a digest's hex what is examined; tags and folders always are.

    ``report`` gets each fault when it is found; ``tick`` is called at each step, ``pace`` before each read with its
    bytes; each may raise to stop. ``start``, 0 to 255: which blobs come first, by the first two letters.
    """

    def __init__(
        self,
        layout: Layout,
        report: Callable[[Fault], None],
        covers: Covers = lambda hex: True,
        tick: Tick = lambda: None,
        pace: rehash.Pace = lambda count: None,
        start: int = 0,
    ) -> None:
        self._layout = layout
        self._report = report
        self._scan = Scan(report, covers, tick)
        self._wait = pace
        self._start = start
        self._records = Records(layout, Blobs(layout))
        self._reader = os.stat(layout.root).st_uid
        self.seen = AuditCounts()

    def run(self) -> None:
        """Examine names and records, then the bytes of blobs. Raises OSError."""
        self._scan.known(self._layout.root, file_names.is_in_root)
        self._examine_transfers()
        self._examine_pieces()
        for entry in self._scan.known(self._layout.upstreams, file_names.is_json, folders=False):
            self._scan.check_object(entry.path)
        for upstream in self._scan.known(self._layout.repositories, lambda name: True, folders=True):
            self._examine_repositories(upstream.path)
        self._examine_blobs()

    def _examine_transfers(self) -> None:
        def is_ours(name: str) -> bool:
            return file_names.holds_locks(name) or name.endswith(".lock")

        for entry in self._scan.known(self._layout.locks, is_ours):
            if file_names.holds_locks(entry.name):
                self._scan.known(entry.path, file_names.is_lock, folders=False)
        for algorithm in self._scan.known(self._layout.partials, file_names.is_algorithm, folders=True):
            for digest, entry in self._scan.of_algorithm(algorithm.path, algorithm.name, {"", "json"}):
                if file_names.is_json(entry.name) and not locks.is_locked(self._layout.lock(digest)):
                    self._scan.check_object(entry.path, digest)

    def _examine_pieces(self) -> None:
        for upstream in self._scan.known(self._layout.pieces, lambda name: True, folders=True):
            for digest, entry in self._scan.digests(upstream.path, {""}):
                self._scan.record(entry.path, digest, partial(piece_files.can_be_read, entry.path))

    def _examine_repositories(self, upstream: str) -> None:
        parts = {
            TAGS: self._examine_tags,
            MANIFESTS: self._examine_manifests,
            MEMBERSHIPS: self._examine_memberships,
            REFERRERS: self._examine_referrers,
        }

        def is_ours(name: str) -> bool:
            return name in parts or file_names.is_component(name)

        pending = [upstream]
        while pending:
            folder = pending.pop()
            for entry in self._scan.known(folder, is_ours, folders=True):
                if entry.name in parts:
                    parts[entry.name](RepositoryFolder(folder), entry.path)
                else:
                    pending.append(entry.path)

    def _examine_tags(self, folder: RepositoryFolder, path: str) -> None:
        upstream, _, repository = os.path.relpath(folder.path, self._layout.repositories).partition("/")
        for entry in self._scan.known(path, file_names.is_tag_record, folders=False):
            tag = Tag(entry.name.removesuffix(".json"))
            read = partial(self._records.tag, FullName(upstream, Repository(repository)), tag)
            self._scan.record(entry.path, None, read)

    def _examine_manifests(self, folder: RepositoryFolder, path: str) -> None:
        for digest, entry in self._scan.digests(path, {"json", *KINDS}):
            if file_names.is_json(entry.name):
                self._examine_record(folder, entry.path, digest)
            else:
                self._examine_name(entry, digest, is_manifest=True)

    def _examine_record(self, folder: RepositoryFolder, path: str, digest: Digest) -> None:
        record = self._scan.record(path, digest, lambda: record_format.read_manifest(disk.read_whole(path)))
        if record is None:
            return
        kind = kind_of(record[0])
        if _is_lost(path, folder.manifest(digest, kind)):
            self._report(Fault("lost", path, f"its {kind} is gone", digest))
        elif kind in _IMAGES:
            self._count_missing(folder, record[1])

    def _count_missing(self, folder: RepositoryFolder, children: list[Child]) -> None:
        paths = [(folder.membership(child.digest), self._layout.blob(child.digest)) for child in children]
        missing = sum(not any(map(os.path.exists, each)) for each in paths)
        self.seen.incomplete += missing > 0
        self.seen.missing += missing

    def _examine_memberships(self, _: RepositoryFolder, path: str) -> None:
        for digest, entry in self._scan.digests(path, {""}):
            self._examine_name(entry, digest)

    def _examine_referrers(self, _: RepositoryFolder, path: str) -> None:
        for digest, entry in self._scan.digests(path, {"json"}):
            self._scan.check_object(entry.path, digest)

    def _examine_name(self, entry: os.DirEntry[str], digest: Digest, *, is_manifest: bool = False) -> None:
        """Examine where a name in a repository leads; re-hash the bytes unless it is the blob's file."""
        self.seen.names += 1
        blob = self._layout.blob(digest)
        if entry.is_symlink():
            self._examine_link(entry.path, blob, digest)
        elif not disk.is_same_file(entry.path, blob) and os.path.lexists(entry.path):
            self.seen.apart += 1
            self._rehash(entry.path, digest, is_manifest=is_manifest)

    def _examine_link(self, path: str, blob: str, digest: Digest) -> None:
        if not os.path.exists(path):
            if os.path.lexists(path):
                self._report(Fault("dangling", path, "leads nowhere", digest))
        elif os.path.realpath(path) != os.path.realpath(blob):
            self._report(Fault("dangling", path, "leads elsewhere than to the blob", digest))

    def _examine_blobs(self) -> None:
        for algorithm in self._scan.known(self._layout.blobs, file_names.is_algorithm, folders=True):
            folders = self._scan.known(algorithm.path, file_names.is_letters, folders=True)
            for letters in sorted(folders, key=lambda each: (int(each.name, 16) - self._start) % _LETTERS):
                for digest, entry in self._scan.of_algorithm(letters.path, algorithm.name, {""}, letters.name):
                    if entry.is_symlink():
                        kind: Kind = "foreign" if os.path.exists(entry.path) else "dangling"
                        self._report(Fault(kind, entry.path, "a blob must not be a link", digest))
                    else:
                        self._rehash(entry.path, digest)

    def _rehash(self, path: str, digest: Digest, *, is_manifest: bool = False) -> None:
        self.seen.files += 1
        damage = rehash.examine(path, digest, self._pace, self._reader, is_manifest=is_manifest)
        # Evicted or replaced meanwhile: then the name is gone, or leads to another file.
        if damage and (damage.file.is_at(path) if damage.file else os.path.lexists(path)):
            kind: Kind = "foreign" if damage.kind == "other" else damage.kind
            self._report(Fault(kind, path, damage.detail, digest, damage.file))

    def _pace(self, count: int) -> None:
        self._wait(count)
        self.seen.bytes += count


def _is_lost(record: str, name: str) -> bool:
    """Tell whether a record exists and its manifest does not; either alone may be on its way in or out.

    Bytes come before the record and go after it, so two looks are enough.
    """
    return all(os.path.lexists(record) and not os.path.lexists(name) for _ in range(2))
