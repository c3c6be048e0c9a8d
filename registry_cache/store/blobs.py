"""Blobs: verified, complete, immutable bytes, and which repositories are known to contain them.

A name under ``blobs/`` is a promise; ``Partial.commit``, ``Blobs.add`` and ``Ingest`` are the only ways in. Membership
is a second name of the same bytes under the repository: what can be opened there may be read there and nowhere else.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass

from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName
from registry_cache.runtime import threadpool
from registry_cache.runtime.log import Log
from registry_cache.store import atomic_write, disk, modes
from registry_cache.store.disk import ReadHandle
from registry_cache.store.layout import Layout

# How many bytes belong here, kept with the inode: a file cut short by a failing disk must not be served as a hit.
_SIZE = "user.registry_cache.size"
# Which upstream brought them: another one's word that it has them too is not enough.
_UPSTREAM = "user.registry_cache.upstream"

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class OpenBlob:
    """A whole blob, open: ``size`` bytes in ``file``, which closes with its last reader."""

    file: ReadHandle
    size: int


class Blobs:
    """The blobs of one store."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def open(self, name: FullName, digest: Digest) -> OpenBlob | None:
        """Open a blob of a repository; None where the repository is not known to contain it, or it is not whole.

        Raises StoreError.
        """
        with disk.store_errors(f"open {digest}"):
            opened = ReadHandle.open_found(self._layout.membership(name, digest))
            if opened is None:
                return None
            file, found = opened
            if found.st_size != recorded_size(file, found.st_size):
                self._evict_damaged(name, digest, found.st_size)
                return None
            disk.touch(file.fileno(), found)
            return OpenBlob(file, found.st_size)

    def open_any(self, digest: Digest) -> OpenBlob | None:
        """Open a blob whichever repository brought it; the caller finds out who may read it.

        None where it is missing or not whole. Raises StoreError.
        """
        with disk.store_errors(f"look for {digest}"):
            opened = ReadHandle.open_found(self._layout.blob(digest))
            if opened is None:
                return None
            file, size = opened[0], opened[1].st_size
            return OpenBlob(file, size) if size == recorded_size(file, size) else None

    def brought_by(self, digest: Digest) -> str:
        """Return the name of the upstream that the bytes came from; "" where that is not known."""
        try:
            return os.getxattr(self._layout.blob(digest), _UPSTREAM).decode(errors="replace")
        except OSError:
            return ""

    def add(self, digest: Digest, data: bytes, upstream: str = "") -> None:
        """Keep ``data``, which the caller has verified to hash to ``digest``; ``upstream`` is where it came from.

        Raises StoreError, StoreFull.
        """
        stored = self.open_any(digest)
        with disk.store_errors(f"store {digest}"):
            if stored:
                # Bringing it again is a use; otherwise a cleanup could evict it before it gets its new name.
                disk.touch(stored.file.fileno(), os.fstat(stored.file.fileno()))
                return
            threadpool.run(_write_sealed, self._layout.blob(digest), data, upstream)

    def grant(self, name: FullName, digest: Digest) -> bool:
        """Record that the repository contains the blob; False where the blob is not here. Raises StoreError."""
        with disk.store_errors(f"record that {name.repository} contains {digest}"):
            try:
                atomic_write.link(self._layout.blob(digest), self._layout.membership(name, digest))
            except FileNotFoundError:
                return False
            return True

    def evict_unreadable(self, name: FullName, digest: Digest, file: ReadHandle) -> bool:
        """Remove the names of ``file``, which the disk can no longer read; False where that fails."""
        membership, blob = self._layout.membership(name, digest), self._layout.blob(digest)
        try:
            with disk.store_errors(f"evict {digest}, which could not be read"):
                found = [path for path in (blob, membership) if file.is_at(os.path.realpath(path))]
                removed = [path for path in found if disk.remove(path)]
        except StoreError:
            return False
        # Of several who find it, the one that removes its last name logs it.
        if removed and removed[-1] == found[-1]:
            _log.error("evicted a blob that the disk does not give", digest=digest, repository=name.repository)
        return True

    def _evict_damaged(self, name: FullName, digest: Digest, size: int) -> None:
        _log.error("evicted a damaged blob", digest=digest, repository=name.repository, bytes=size)
        membership, blob = self._layout.membership(name, digest), self._layout.blob(digest)
        # Another file under the blob's name is one that somebody has fetched again since.
        if disk.is_same_file(membership, blob):
            disk.remove(blob)
        disk.remove(membership)


def seal(descriptor: int, size: int, upstream: str = "") -> None:
    """Make a verified file ready for its name: record its size and origin, make it read-only. Raises OSError.

    Sync it before the rename, or a power cut could leave the name with fewer bytes.
    """
    with contextlib.suppress(OSError):  # A file system without attributes: the size then goes unchecked until verify.
        os.setxattr(descriptor, _SIZE, b"%d" % size)
        if upstream:
            os.setxattr(descriptor, _UPSTREAM, upstream.encode())
    os.fchmod(descriptor, modes.SEALED)


def recorded_size(file: ReadHandle, otherwise: int) -> int:
    """Return how many bytes belong in a sealed file, ``otherwise`` where that is not known. Raises OSError."""
    try:
        return int(os.getxattr(file.fileno(), _SIZE))
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return otherwise
        raise
    except ValueError:
        return otherwise


def _write_sealed(path: str, data: bytes, upstream: str) -> None:
    atomic_write.make_folder(os.path.dirname(path))
    with atomic_write.replacing(path, synced=True) as descriptor:
        atomic_write.write_all(descriptor, data)
        seal(descriptor, len(data), upstream)
