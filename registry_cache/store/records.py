"""Records: what tags mean, which manifests a repository has, and what refers to them.

Small JSON files, written whole and never synced: losing one in a power cut costs a question to upstream, no bytes. A
record that cannot be read is one that is not there.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from registry_cache.errors import RegistryError
from registry_cache.oci import media_types
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import MAX_MANIFEST_SIZE, Manifest
from registry_cache.oci.names import Repository, Tag
from registry_cache.runtime.log import Log
from registry_cache.store import disk, last_use
from registry_cache.store.blobs import Blobs
from registry_cache.store.disk import ReadHandle
from registry_cache.store.layout import ALGORITHMS, Layout
from registry_cache.store.record_cache import RecordCache, stamp_of

# How many manifests of a repository are looked into for a blob: an index's of many platforms, and some others.
_NEWEST = 32

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class TagRecord:
    """What a tag meant at ``checked_at``; ``size`` of the manifest in bytes.

    The manifest itself may not be here yet; ``previous`` is what the tag meant before, if that is.
    """

    digest: Digest
    media_type: str
    size: int
    checked_at: datetime
    changed_at: datetime
    previous: Digest | None = None


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest's exact bytes and media type; ``digest`` names them, and they have been compared to it."""

    digest: Digest
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Child:
    """What a manifest names, and what it says of its size in bytes."""

    digest: Digest
    size: int


class Records:
    """The records of one store."""

    def __init__(self, layout: Layout, blobs: Blobs) -> None:
        self._layout = layout
        self._blobs = blobs
        self._kept = RecordCache()

    def tag(self, upstream: str, repository: Repository, tag: Tag) -> TagRecord | None:
        """Return what is known of a tag. Raises StoreError."""
        key = (upstream, repository, tag)
        with disk.store_errors(f"read the record of {repository}:{tag}"):
            kept = self._kept.get(key, TagRecord)
            if kept:
                return kept[0]
            path = self._layout.tag(upstream, repository, tag)
            # Before it is read: what is newer than the moment of its check is only asked about once more.
            found = _stat(path)
            data = disk.read_whole(path) if found else None
        record = _parse_tag(data, found.st_mtime) if found and data else None
        if found and data and record:
            self._kept.put(key, record, len(data), (path, stamp_of(found)))
        return record

    def put_tag(self, upstream: str, repository: Repository, tag: Tag, record: TagRecord) -> None:
        """Keep what a tag means. Raises StoreError, StoreFull."""
        document = {
            "digest": str(record.digest),
            "media_type": record.media_type,
            "size": record.size,
            "changed_at": record.changed_at.isoformat(),
            "previous": str(record.previous) if record.previous else None,
        }
        path = self._layout.tag(upstream, repository, tag)
        # An imported tag was never asked for: not even for a moment may it pass for one that was.
        checked = int(record.checked_at.timestamp() * 10**9)
        with disk.store_errors(f"write the record of {repository}:{tag}"):
            disk.write_whole(path, json.dumps(document).encode(), modified=checked)

    def touch_tag(self, upstream: str, repository: Repository, tag: Tag, now: datetime) -> None:
        """Record that upstream confirmed the tag at ``now``: one utime where a write would be five calls."""
        with contextlib.suppress(OSError):
            os.utime(self._layout.tag(upstream, repository, tag), (now.timestamp(), now.timestamp()))

    def forget_tag(self, upstream: str, repository: Repository, tag: Tag) -> None:
        """Remove a tag that upstream says is gone. Raises StoreError."""
        with disk.store_errors(f"remove the record of {repository}:{tag}"):
            disk.remove(self._layout.tag(upstream, repository, tag))

    def tags(self, upstream: str, repository: Repository) -> list[str]:
        """Return the tags with a record, in lexical order. Raises StoreError."""
        with disk.store_errors(f"list the tags of {repository}"):
            try:
                names = os.listdir(self._layout.tags(upstream, repository))
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(name.removesuffix(".json") for name in names if not name.startswith("."))

    def manifest(self, upstream: str, repository: Repository, digest: Digest) -> StoredManifest | None:
        """Return a manifest that the repository is known to contain; None where it is not, or its bytes are not its.

        Raises StoreError.
        """
        key = (upstream, repository, digest)
        with disk.store_errors(f"read the manifest {digest}"):
            kept = self._kept.get(key, StoredManifest)
            if kept:
                manifest, found = kept
                if time.time() - found.st_mtime > last_use.TOUCH_SECONDS:
                    last_use.touch(self._layout.blob(digest), found)
                return manifest
            return self._read_manifest(upstream, repository, digest)

    def _read_manifest(self, upstream: str, repository: Repository, digest: Digest) -> StoredManifest | None:
        path = self._layout.manifest(upstream, repository, digest, "json")
        # Before it is read: a newer record then has another stamp.
        record = _stat(path)
        media_type = _media_type(disk.read_whole(path))
        if media_type is None or record is None:
            return None
        name = self._layout.manifest(upstream, repository, digest, media_types.kind_of(media_type))
        file = ReadHandle.open(name)
        if file is None:
            return None
        found = os.fstat(file.fileno())
        data = _read(file, found.st_size)
        # Hashing a few kilobytes costs less than the system call that read them, and a flipped bit is never served.
        if Digest.of(data, digest.algorithm) != digest:
            self._evict_damaged(upstream, repository, digest, name)
            return None
        manifest = StoredManifest(digest, media_type, data)
        last_use.touch(file.fileno(), found)
        if not last_use.due(found):
            files = (path, stamp_of(record)), (name, stamp_of(found))
            self._kept.put((upstream, repository, digest), manifest, len(data), *files)
        return manifest

    def put_manifest(self, upstream: str, repository: Repository, digest: Digest, data: bytes, found: Manifest) -> None:
        """Keep a manifest whose bytes the caller has compared to ``digest``. Raises StoreError, StoreFull."""
        self._blobs.add(digest, data)
        record = {
            "media_type": found.media_type,
            "size": len(data),
            "children": [[str(child.digest), child.size] for child in (*found.manifests, *found.blobs)],
            "subject": str(found.subject.digest) if found.subject else None,
        }
        with disk.store_errors(f"record that {repository} contains the manifest {digest}"):
            extension = media_types.kind_of(found.media_type)
            # Children before names: the record is what makes the manifest known, so its bytes come first.
            disk.link(self._layout.blob(digest), self._layout.manifest(upstream, repository, digest, extension))
            path = self._layout.manifest(upstream, repository, digest, "json")
            disk.write_whole(path, json.dumps(record).encode(), modified=last_use.NEVER)

    def read_any(self, digest: Digest) -> bytes | None:
        """Return a manifest's bytes whichever repository brought them; who may read them is the caller's to find out.

        None where they are not here, not themselves, or too many for a manifest. Raises StoreError.
        """
        with disk.store_errors(f"read {digest}"):
            # The digest is a client's word: it may name a layer of gigabytes.
            data = disk.read_whole(self._layout.blob(digest), MAX_MANIFEST_SIZE)
        return data if data is not None and Digest.of(data, digest.algorithm) == digest else None

    def newest_children(self, upstream: str, repository: Repository) -> Iterator[list[Child]]:
        """Yield what each of the manifests that came last names, the latest first. Raises StoreError."""
        with disk.store_errors(f"look for the manifests of {repository}"):
            for path in _newest(self._layout.manifests(upstream, repository)):
                yield _children(disk.read_whole(path))

    def referrers(self, upstream: str, repository: Repository, digest: Digest) -> bytes | None:
        """Return the cached answer to "what refers to this digest", as JSON. Raises StoreError."""
        with disk.store_errors(f"read the referrers of {digest}"):
            return disk.read_whole(self._layout.referrers(upstream, repository, digest)) or None

    def put_referrers(self, upstream: str, repository: Repository, digest: Digest, document: bytes) -> None:
        """Keep such an answer. Raises StoreError, StoreFull."""
        with disk.store_errors(f"write the referrers of {digest}"):
            disk.write_whole(self._layout.referrers(upstream, repository, digest), document)

    def repositories(self, upstream: str, after: str = "") -> Iterator[str]:
        """Yield the repositories with a tag or a manifest, in lexical order of their parts, behind ``after``.

        Folders that lie wholly before ``after`` are not opened, so a page costs what the page holds. Raises StoreError.
        """
        root = f"{self._layout.repositories}/{upstream}"
        with disk.store_errors("list the repositories"):
            yield from _walk(root, "", after.split("/") if after else [])

    def _evict_damaged(self, upstream: str, repository: Repository, digest: Digest, name: str) -> None:
        _log.error("evicted a damaged manifest", digest=digest, repository=repository)
        with disk.store_errors(f"evict the damaged manifest {digest}"):
            blob = self._layout.blob(digest)
            disk.remove(self._layout.manifest(upstream, repository, digest, "json"))
            # Another file under the blob's name is one that somebody has fetched again since.
            if disk.same(name, blob):
                disk.remove(blob)
            disk.remove(name)


def _newest(folder: str) -> list[str]:
    """Return the paths of the records in a repository's folder of manifests that were written or used last."""
    found: list[tuple[int, str]] = []
    for algorithm in ALGORITHMS:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(f"{folder}/{algorithm}") as entries:
            # What is removed meanwhile has no time any more.
            for each in filter(lambda each: _is_record(each.name), entries):
                with contextlib.suppress(FileNotFoundError):
                    found.append((each.stat().st_ctime_ns, each.path))
    return [path for _, path in heapq.nlargest(_NEWEST, found)]


def _children(record: bytes | None) -> list[Child]:
    try:
        pairs = json.loads(record)["children"] if record else []
        return [Child(Digest.parse(digest), int(size)) for digest, size in pairs]
    except (ValueError, KeyError, TypeError, RecursionError, RegistryError):
        return []


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _parse_tag(data: bytes, checked_at: float) -> TagRecord | None:
    try:
        record = json.loads(data)
        return TagRecord(
            digest=Digest.parse(record["digest"]),
            media_type=str(record["media_type"]),
            size=int(record["size"]),
            checked_at=datetime.fromtimestamp(checked_at, UTC),
            changed_at=datetime.fromisoformat(record["changed_at"]),
            previous=Digest.parse(record["previous"]) if record.get("previous") else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, RegistryError):
        return None


def _media_type(record: bytes | None) -> str | None:
    try:
        return str(json.loads(record)["media_type"]) if record else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _read(file: ReadHandle, size: int) -> bytes:
    """Return the bytes of a manifest; of a file too large to be one the first, which are not its digest's."""
    size = min(size, MAX_MANIFEST_SIZE + 1)
    data = b""
    while part := file.read_at(len(data), size - len(data)):
        data += part
    return data


def _walk(folder: str, prefix: str, after: list[str]) -> Iterator[str]:
    """Yield repositories under ``folder``, those whose parts come behind the parts ``after``."""
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    first = after[0] if after else ""
    for name in names:
        if name.startswith(("_", ".")) or name < first:
            continue
        path = f"{folder}/{name}"
        rest = after[1:] if name == first else []
        # With ``after`` a/b: a itself came before it, and of a only what lies behind b is left.
        if name != first and (_holds(f"{path}/_tags") or _holds(f"{path}/_manifests")):
            yield f"{prefix}{name}"
        yield from _walk(path, f"{prefix}{name}/", rest)


def _holds(folder: str) -> bool:
    """Tell whether there is a record in ``folder`` or in a folder of it; emptied folders stay behind."""
    try:
        with os.scandir(folder) as entries:
            return any(_holds(each.path) if each.is_dir() else _is_record(each.name) for each in entries)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _is_record(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")
