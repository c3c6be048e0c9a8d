"""Records: what tags mean, which manifests a repository has, and what refers to them.

Small JSON files, written whole and never synced: losing one in a power cut costs a question to upstream, not bytes. A
record that cannot be read is treated as missing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from registry_cache.oci import media_types, signed_manifest
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import MAX_MANIFEST_SIZE, Manifest
from registry_cache.oci.names import FullName, Tag
from registry_cache.runtime import threadpool
from registry_cache.runtime.log import Log
from registry_cache.store import disk, record_format
from registry_cache.store.atomic_write import link, write_whole
from registry_cache.store.blobs import Blobs, OpenBlob
from registry_cache.store.layout import Layout
from registry_cache.store.record_cache import RecordCache, stamp_of
from registry_cache.store.record_format import Child, TagRecord
from registry_cache.store.repositories import RepositoryFolder, catalog

# The mtime of a manifest's record is the last use that was handed on to its children. A new record has handed on none,
# although its manifest may be as old as the first repository that brought it.
_NEVER = 0

# How many manifests of a repository are looked into for a blob: an index's of many platforms, and some others.
_NEWEST = 32
# A larger record is not looked into: it names some three thousand blobs, and 32 of them are read for each blob that is
# not here.
_MAX_HINT_SIZE = 256 * 1024
# A manifest from this size on is recorded on a real thread: one of 4 MiB would hold up all clients for a tenth of a
# second.
LARGE_MANIFEST_SIZE = 128 * 1024

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest's exact bytes and media type; ``digest`` names them, and they have been compared to it.

    ``content``: the bytes, or of a large one the open file. Hundreds of clients that are answered at once, or wait for
    what upstream says of a tag, would otherwise hold some megabytes each.
    """

    digest: Digest
    media_type: str
    content: bytes | OpenBlob

    @property
    def size(self) -> int:
        return self.content.size if isinstance(self.content, OpenBlob) else len(self.content)

    @property
    def data(self) -> bytes:
        """The bytes, read each time if they are in a file. Raises StoreError."""
        return read_content(self.content)


class Records:
    """The records of one store. Every method raises StoreError; those that write also StoreFull."""

    def __init__(self, layout: Layout, blobs: Blobs) -> None:
        self._layout = layout
        self._blobs = blobs
        self._cache = RecordCache()

    def tag(self, name: FullName, tag: Tag) -> TagRecord | None:
        """Return what is known of a tag."""
        key = name, tag
        with disk.store_errors(f"read the record of {name.repository}:{tag}"):
            cached = self._cache.get(key, TagRecord)
            if cached:
                return cached[0]
            path = self._layout.tag(name, tag)
            # Stat before reading: a record that is newer than its moment of check is only asked about once more.
            found = disk.stat(path)
            data = disk.read_whole(path) if found else None
        record = record_format.read_tag(data, found.st_mtime) if found else None
        if found and data and record:
            self._cache.put(key, record, len(data), (path, stamp_of(found)))
        return record

    def put_tag(self, name: FullName, tag: Tag, record: TagRecord) -> None:
        """Keep what a tag means."""
        # Set before the name appears: an imported tag was never checked, and must not pass for checked for a moment.
        checked = int(record.checked_at.timestamp() * 10**9)
        with disk.store_errors(f"write the record of {name.repository}:{tag}"):
            path = self._layout.tag(name, tag)
            write_whole(path, record_format.write_tag(record), modified=checked)

    def touch_tag(self, name: FullName, tag: Tag, now: datetime) -> None:
        """Record that upstream confirmed the tag at ``now``: one utime where a write would be five calls."""
        with contextlib.suppress(OSError):
            os.utime(self._layout.tag(name, tag), (now.timestamp(), now.timestamp()))

    def forget_tag(self, name: FullName, tag: Tag) -> None:
        """Remove a tag that upstream says is gone."""
        with disk.store_errors(f"remove the record of {name.repository}:{tag}"):
            disk.remove(self._layout.tag(name, tag))

    def tags(self, name: FullName) -> list[str]:
        """Return the tags with a record, in lexical order."""
        with disk.store_errors(f"list the tags of {name.repository}"):
            found = RepositoryFolder(self._layout.repository(name)).tags()
        return sorted(entry.name.removesuffix(".json") for entry in found)

    def manifest(self, name: FullName, digest: Digest) -> StoredManifest | None:
        """Return a manifest that the repository is known to contain; None if it is not, or its bytes are damaged."""
        with disk.store_errors(f"read the manifest {digest}"):
            cached = self._cache.get((name, digest), StoredManifest)
            if cached:
                manifest, found = cached
                # Asked here too: a hit that notes no use needs no path.
                if disk.is_touch_due(found):
                    disk.touch(self._layout.blob(Digest.of(manifest.data, digest.algorithm)), found)
                return manifest
            return self._read_manifest(name, digest)

    def _read_manifest(self, name: FullName, digest: Digest) -> StoredManifest | None:
        path = self._layout.manifest(name, digest, "json")
        # Stat before reading: a newer record then has another stamp.
        record = disk.stat(path)
        media_type = record_format.manifest_media_type(disk.read_whole(path))
        if media_type is None or record is None:
            return None
        path_of_bytes = self._layout.manifest(name, digest, media_types.kind_of(media_type))
        opened = disk.ReadHandle.open_found(path_of_bytes)
        if opened is None:
            return None
        file, found = opened
        is_large = found.st_size >= LARGE_MANIFEST_SIZE
        # Hashing a few kilobytes costs less than the system call that read them, and a flipped bit is never served.
        # To read and hash 4 MiB takes a fiftieth of a second, in which others are answered.
        compare = partial(_read_verified, file, found.st_size, digest)
        data = threadpool.run(compare) if is_large else compare()
        if data is None:
            self._evict_damaged(name, digest, path_of_bytes)
            return None
        manifest = StoredManifest(digest, media_type, OpenBlob(file, len(data)) if is_large else data)
        disk.touch(file.fileno(), found)
        if not is_large and not disk.is_touch_due(found):
            files = (path, stamp_of(record)), (path_of_bytes, stamp_of(found))
            self._cache.put((name, digest), manifest, len(data), *files)
        return manifest

    def put_manifest(self, name: FullName, digest: Digest, data: bytes, found: Manifest) -> None:
        """Keep a manifest whose bytes the caller has compared to ``digest``."""
        blob = self._add(name.upstream, digest, data)
        with disk.store_errors(f"record that {name.repository} contains the manifest {digest}"):
            extension = media_types.kind_of(found.media_type)
            # Children before names: the record is what makes the manifest known, so its bytes come first.
            link(self._layout.blob(blob), self._layout.manifest(name, digest, extension))
            path = self._layout.manifest(name, digest, "json")
            signed = blob if blob != digest else None
            if len(data) < LARGE_MANIFEST_SIZE:
                record = record_format.write_manifest(found, len(data), signed)
            else:
                record = threadpool.run(record_format.write_manifest, found, len(data), signed)
            write_whole(path, record, modified=_NEVER)

    def _add(self, upstream: str, digest: Digest, data: bytes) -> Digest:
        """Store a manifest's bytes and return the digest of all of them, which ``digest`` of a signed one is not."""
        blob = signed_manifest.digest_of_all(data, digest)
        if blob != digest and self.read_any(blob) is None:
            # Whoever found it damaged knew it by the other digest alone, and left it.
            with disk.store_errors(f"evict the damaged manifest {digest}"):
                disk.remove(self._layout.blob(blob))
        self._blobs.add(blob, data, upstream)
        return blob

    def read_any(self, digest: Digest) -> bytes | None:
        """Return a manifest's bytes whichever repository brought them; the caller finds out who may read them.

        None where they are missing, damaged, or too many for a manifest.
        """
        with disk.store_errors(f"read {digest}"):
            # The digest comes from a client: it may name a layer of gigabytes.
            data = disk.read_whole(self._layout.blob(digest), MAX_MANIFEST_SIZE)
        return data if data is not None and Digest.of(data, digest.algorithm) == digest else None

    def size_of(self, digest: Digest) -> int:
        """Return how many bytes are here of a digest, whichever repository brought them; 0 for none."""
        with disk.store_errors(f"look for {digest}"):
            found = disk.stat(self._layout.blob(digest))
        return found.st_size if found else 0

    def brought_by(self, digest: Digest) -> str:
        """Return the name of the upstream that a manifest's bytes came from; "" where that is not known."""
        return self._blobs.brought_by(digest)

    def siblings(self, name: FullName, digest: Digest) -> list[Child]:
        """Return all that the latest manifest that names ``digest`` names; [] where none of the newest names it."""
        word = str(digest).encode()
        with disk.store_errors(f"look for the manifests of {name.repository}"):
            folder = RepositoryFolder(self._layout.repository(name))
            for path in folder.newest_manifest_records(_NEWEST):
                data = disk.read_whole(path, _MAX_HINT_SIZE)
                # Only a record that holds the digest is parsed: to parse them all would take seconds.
                children = record_format.manifest_children(data) if data and word in data else []
                if any(child.digest == digest for child in children):
                    return children
        return []

    def referrers(self, name: FullName, digest: Digest) -> bytes | None:
        """Return the cached answer to "what refers to this digest", as JSON."""
        with disk.store_errors(f"read the referrers of {digest}"):
            return disk.read_whole(self._layout.referrers(name, digest)) or None

    def has_content(self, name: FullName) -> bool:
        """Return whether a tag or a manifest of a repository is, or was, here."""
        return RepositoryFolder(self._layout.repository(name)).has_content()

    def count_referrers(self, name: FullName) -> int:
        """Return how many such answers of a repository are kept."""
        with disk.store_errors(f"count the referrers of {name.repository}"):
            return sum(1 for _ in RepositoryFolder(self._layout.repository(name)).referrers())

    def put_referrers(self, name: FullName, digest: Digest, document: bytes) -> None:
        """Keep such an answer."""
        with disk.store_errors(f"write the referrers of {digest}"):
            write_whole(self._layout.referrers(name, digest), document)

    def forget_referrers(self, name: FullName, digest: Digest) -> None:
        """Remove such an answer, and the folders that are empty without it."""
        with disk.store_errors(f"remove the referrers of {digest}"):
            path = self._layout.referrers(name, digest)
            disk.remove(path)
            disk.remove_empty_folders(os.path.dirname(path), f"{self._layout.repositories}/{name.upstream}")

    def repositories(self, upstream: str, after: str = "") -> Iterator[str]:
        """Yield the repositories with a tag or a manifest, in the order of their parts; only those after ``after``."""
        with disk.store_errors("list the repositories"):
            yield from catalog(f"{self._layout.repositories}/{upstream}", after)

    def _evict_damaged(self, name: FullName, digest: Digest, path: str) -> None:
        _log.error("evicted a damaged manifest", digest=digest, repository=name.repository)
        with disk.store_errors(f"evict the damaged manifest {digest}"):
            blob = self._layout.blob(digest)
            disk.remove(self._layout.manifest(name, digest, "json"))
            # Another file under the blob's name is one that somebody has fetched again since.
            if disk.is_same_file(path, blob):
                disk.remove(blob)
            disk.remove(path)


def read_content(content: bytes | OpenBlob) -> bytes:
    """Return the bytes of a manifest that are here or in an open file. Raises StoreError."""
    if isinstance(content, bytes):
        return content
    with disk.store_errors("read a manifest"):
        return _read(content.file, content.size)


def _read_verified(file: disk.ReadHandle, size: int, digest: Digest) -> bytes | None:
    """Return the bytes of a manifest; None where ``digest`` is not their name."""
    data = _read(file, size)
    return data if signed_manifest.is_named(data, digest) else None


def _read(file: disk.ReadHandle, size: int) -> bytes:
    """Return the bytes of a manifest; of a file too large to be one, its beginning, which does not match its digest."""
    size = min(size, MAX_MANIFEST_SIZE + 1)
    data = b""
    while part := file.read_at(len(data), size - len(data)):
        data += part
    return data
