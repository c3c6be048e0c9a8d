"""A look at everything stored, for what must not be there. It changes nothing; who is told may repair at once.

What is no fault, because a live store or a crash leaves it:
- a child that is not here: nobody pulled that platform or that layer, and the next pull fetches it. It is counted;
- bytes of a repository that are not the blob's file: the blob was evicted or fetched anew under a name that stayed.
  They are re-hashed where they lie;
- a manifest without its record: the crash came between the two, and the next pull writes it;
- a tag whose manifest is not here: it was asked for and not pulled;
- names that begin with a dot: files that are being written, which a cleanup removes when they are old.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from registry_cache.errors import RegistryError
from registry_cache.oci.digest import Digest
from registry_cache.oci.media_types import KINDS, kind_of
from registry_cache.oci.names import Repository, Tag
from registry_cache.store import disk, locks
from registry_cache.store.audit import file_names, rehash
from registry_cache.store.audit.fault import Fault, Kind
from registry_cache.store.audit.scan import Covers, Scan
from registry_cache.store.blobs import Blobs
from registry_cache.store.last_use import Tick
from registry_cache.store.layout import Layout
from registry_cache.store.records import Records

_IMAGES = {kind for kind in KINDS if kind.endswith("-manifest")}
_LETTERS = 256


@dataclass(slots=True)
class AuditCounts:
    """What was looked at: ``files`` of ``bytes`` re-hashed, and names.

    ``apart``: of the files, those that are not a blob's. ``incomplete``: images of which ``missing`` children in all
    are not here.
    """

    files: int = 0
    bytes: int = 0
    names: int = 0
    apart: int = 0
    incomplete: int = 0
    missing: int = 0


class AuditWalk:
    """One look. ``covers`` tells by a digest's hex what belongs to it; tags and folders always do.

    ``found`` is told each fault when it is found, ``tick`` is called at each step, ``pace`` before each read with its
    bytes; each may raise to stop. ``start``, 0 to 255: which blobs come first, by the first two letters.
    """

    def __init__(
        self,
        layout: Layout,
        found: Callable[[Fault], None],
        covers: Covers = lambda hex: True,
        tick: Tick = lambda: None,
        pace: rehash.Pace = lambda count: None,
        start: int = 0,
    ) -> None:
        self._layout = layout
        self._found = found
        self._look = Scan(found, covers, tick)
        self._wait = pace
        self._start = start
        self._records = Records(layout, Blobs(layout))
        self._reader = os.stat(layout.root).st_uid
        self.seen = AuditCounts()

    def run(self) -> None:
        """Look at names and records, then at the bytes of blobs. Raises OSError."""
        self._look.known(self._layout.root, file_names.in_root)
        self._look_at_transfers()
        for entry in self._look.known(os.path.dirname(self._layout.notice("any")), file_names.is_json, folders=False):
            self._look.document(entry.path)
        for upstream in self._look.known(self._layout.repositories, lambda name: True, folders=True):
            self._look_at_repositories(upstream.path)
        self._look_at_blobs()

    def _look_at_transfers(self) -> None:
        for entry in self._look.known(
            self._layout.locks, lambda name: file_names.has_locks(name) or name.endswith(".lock")
        ):
            if file_names.has_locks(entry.name):
                self._look.known(entry.path, file_names.is_lock, folders=False)
        for algorithm in self._look.known(self._layout.partials, file_names.is_algorithm, folders=True):
            for digest, entry in self._look.of_algorithm(algorithm.path, algorithm.name, {"", "json"}):
                if file_names.is_json(entry.name) and not locks.is_locked(self._layout.lock(digest)):
                    self._look.document(entry.path, digest)

    def _look_at_repositories(self, upstream: str) -> None:
        looks = {
            "_tags": self._look_at_tags,
            "_manifests": self._look_at_manifests,
            "_blobs": self._look_at_members,
            "_referrers": self._look_at_referrers,
        }
        pending = [upstream]
        while pending:
            folder = pending.pop()
            for entry in self._look.known(
                folder, lambda name: name in looks or file_names.is_component(name), folders=True
            ):
                if entry.name in looks:
                    looks[entry.name](folder, entry.path)
                else:
                    pending.append(entry.path)

    def _look_at_tags(self, folder: str, path: str) -> None:
        upstream, _, repository = os.path.relpath(folder, self._layout.repositories).partition("/")
        for entry in self._look.known(path, file_names.is_tag_record, folders=False):
            tag = Tag(entry.name.removesuffix(".json"))
            read = partial(self._records.tag, upstream, Repository(repository), tag)
            self._look.record(entry.path, None, read)

    def _look_at_manifests(self, folder: str, path: str) -> None:
        for digest, entry in self._look.digests(path, {"json", *KINDS}):
            if not file_names.is_json(entry.name):
                self._look_at_name(entry, digest)
            elif (record := self._look.document(entry.path, digest, _is_manifest_record)) is not None:
                kind = kind_of(str(record["media_type"]))
                if self._is_lost(entry.path, f"{entry.path.removesuffix('json')}{kind}"):
                    self._found(Fault("lost", entry.path, f"its {kind} is gone", digest))
                elif kind in _IMAGES:
                    self._look_for_children(folder, record["children"])

    def _is_lost(self, record: str, name: str) -> bool:
        """Tell whether a record is there and its manifest is not; one of them alone may be going or coming.

        Bytes come before the record and go behind it, so twice is enough.
        """
        return all(os.path.lexists(record) and not os.path.lexists(name) for _ in range(2))

    def _look_for_children(self, folder: str, children: list[Any]) -> None:
        missing = 0
        for child, _ in children:
            digest = Digest.parse(child)
            here = (f"{folder}/_blobs/{digest.algorithm}/{digest.hex}", self._layout.blob(digest))
            missing += not any(map(os.path.exists, here))
        self.seen.incomplete += missing > 0
        self.seen.missing += missing

    def _look_at_members(self, folder: str, path: str) -> None:
        for digest, entry in self._look.digests(path, {""}):
            self._look_at_name(entry, digest)

    def _look_at_referrers(self, folder: str, path: str) -> None:
        for digest, entry in self._look.digests(path, {"json"}):
            self._look.document(entry.path, digest)

    def _look_at_name(self, entry: os.DirEntry[str], digest: Digest) -> None:
        """Look where a name in a repository leads; re-hash what is not the blob's file, which is hashed as a blob."""
        self.seen.names += 1
        blob = self._layout.blob(digest)
        if entry.is_symlink():
            self._look_at_link(entry.path, blob, digest)
        elif not disk.same(entry.path, blob) and os.path.lexists(entry.path):
            self.seen.apart += 1
            self._rehash(entry.path, digest)

    def _look_at_link(self, path: str, blob: str, digest: Digest) -> None:
        if not os.path.exists(path):
            if os.path.lexists(path):
                self._found(Fault("dangling", path, "leads nowhere", digest))
        elif os.path.realpath(path) != os.path.realpath(blob):
            self._found(Fault("dangling", path, "leads elsewhere than to the blob", digest))

    def _look_at_blobs(self) -> None:
        for algorithm in self._look.known(self._layout.blobs, file_names.is_algorithm, folders=True):
            folders = self._look.known(algorithm.path, file_names.is_letters, folders=True)
            for letters in sorted(folders, key=lambda each: (int(each.name, 16) - self._start) % _LETTERS):
                for digest, entry in self._look.of_algorithm(letters.path, algorithm.name, {""}, letters.name):
                    if entry.is_symlink():
                        kind: Kind = "foreign" if os.path.exists(entry.path) else "dangling"
                        self._found(Fault(kind, entry.path, "a blob is no link", digest))
                    else:
                        self._rehash(entry.path, digest)

    def _rehash(self, path: str, digest: Digest) -> None:
        self.seen.files += 1
        damage = rehash.examine(path, digest, self._pace, self._reader)
        # Evicted meanwhile, or healed: then it is not there any more, or another file is.
        if damage and (damage.file.is_at(path) if damage.file else os.path.lexists(path)):
            kind: Kind = "foreign" if damage.kind == "other" else damage.kind
            self._found(Fault(kind, path, damage.detail, digest, damage.file))

    def _pace(self, count: int) -> None:
        self._wait(count)
        self.seen.bytes += count


def _is_manifest_record(record: dict[str, Any]) -> bool:
    try:
        return isinstance(record["media_type"], str) and all(Digest.parse(name) for name, _ in record["children"])
    except (RegistryError, KeyError, TypeError, ValueError, AttributeError):
        return False
