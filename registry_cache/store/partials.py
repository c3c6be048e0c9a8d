"""Partials: the bytes of one unfinished blob, which one leader appends and anyone may read.

ABSENT     nothing there, lock free
CLAIMED    lock held, nothing yet
GROWING    lock held, bytes and a status
ORPHANED   bytes, lock free: the leader died; the next claim goes on behind its last byte
COMMITTED  the file is renamed into ``blobs/``
FAILED     a status with an error, no bytes, lock free
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from registry_cache.errors import RegistryError
from registry_cache.oci.digest import Digest, Hasher
from registry_cache.runtime import threadpool
from registry_cache.store import disk, locks
from registry_cache.store.blobs import seal
from registry_cache.store.disk import ReadHandle
from registry_cache.store.disk_errors import disk_error_log
from registry_cache.store.layout import Layout

_READ_BLOCK = 1024 * 1024

# Bytes that are hashed in one go: enough that handing them to another thread costs nothing beside it.
_BATCH = 1024 * 1024

# Seconds between two requests to the disk to begin to write: what one is for should not be there for the commit.
_BEHIND_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class DownloadStatus:
    """What the leader says of its download. ``size`` in bytes, None while unknown; ``at``: seconds since the epoch.

    ``upstream`` and ``repository`` tell whose access has been proven by this download; a reader from another
    repository must prove its own. Until upstream has ``answered`` the leader only asks, and nothing is proven.
    ``verified``: all ``size`` bytes are in the partial, and right; the disk may still be busy with them.
    """

    upstream: str
    repository: str
    at: float
    size: int | None = None
    error: RegistryError | None = None
    answered: bool = True
    verified: bool = False


class Partials:
    """The partials of one store."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def claim(self, digest: Digest) -> Claim | None:
        """Become the leader of ``digest``; None while somebody else is. Close the claim. Raises StoreError."""
        with disk.store_errors(f"lock {digest}"):
            lock = locks.try_lock(self._layout.lock(digest))
        return Claim(self._layout, digest, lock) if lock else None

    def open(self, digest: Digest) -> ReadHandle | None:
        """Open what there is of an unfinished blob, for a follower. Raises StoreError."""
        with disk.store_errors(f"open the partial of {digest}"):
            return ReadHandle.open(self._layout.partial(digest))

    def status(self, digest: Digest) -> DownloadStatus | None:
        """Return what the last leader said; None where nothing is known. Raises StoreError."""
        with disk.store_errors(f"read the status of {digest}"):
            data = disk.read_whole(self._layout.status(digest))
        return _parse_status(data) if data else None


class Claim:
    """The right to write one digest's partial, by its lock. Use ``with``; leaving it frees the lock."""

    def __init__(self, layout: Layout, digest: Digest, lock: locks.LockFile) -> None:
        self._layout = layout
        self._digest = digest
        self._lock = lock

    def partial(self) -> Partial:
        """Open the partial, with what an earlier leader left in it; close it. Raises StoreError, StoreFull."""
        with disk.store_errors(f"open the partial of {self._digest}"):
            return Partial(self._layout, self._digest)

    def publish(self, status: DownloadStatus) -> None:
        """Publish ``status``. Raises StoreError, StoreFull."""
        record = {
            "upstream": status.upstream,
            "repository": status.repository,
            "at": status.at,
            "size": status.size,
            "answered": status.answered,
            "verified": status.verified,
            "failed": status.error.to_record() if status.error else None,
        }
        path, data = self._layout.status(self._digest), json.dumps(record).encode()
        with disk.store_errors(f"write the status of {self._digest}"):
            try:
                disk.write_whole(path, data)
            except OSError as error:
                # How a download failed for want of room must be told where there is no room for one more file.
                no_room = error.errno in (errno.ENOSPC, errno.EDQUOT)
                if not (status.error and no_room and disk.write_over(path, data)):
                    raise

    def discard(self, *, only_empty: bool = False) -> None:
        """Unlink the bytes so far, or the file ``only_empty``; who reads them keeps them. Raises StoreError."""
        path = self._layout.partial(self._digest)
        with disk.store_errors(f"discard the partial of {self._digest}"), contextlib.suppress(FileNotFoundError):
            if not only_empty or os.stat(path).st_size == 0:
                disk.remove(path)

    def remove_status(self) -> None:
        """Remove the status: the blob is committed and speaks for itself."""
        with contextlib.suppress(OSError):
            disk.remove(self._layout.status(self._digest))

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.retire()
        self._lock.close()


class Partial:
    """The bytes so far: ``size`` of them. Only the claim's holder has one, and it only appends.

    They are hashed on another core, a batch at a time, while the next ones arrive.
    """

    def __init__(self, layout: Layout, digest: Digest) -> None:
        """Open and re-hash what is there: a hash state does not survive its process. Raises OSError."""
        self._path = layout.partial(digest)
        self._target = layout.blob(digest)
        self._digest = digest
        self._hasher: Hasher = digest.hasher()
        self._descriptor = _open_to_append(self._path)
        self.size = 0
        self._batch: list[bytes] = []
        self._batched = 0
        self._hashed: Callable[[], None] | None = None
        self._behind = 0
        self._behind_since = time.monotonic()
        self._writing: Callable[[], None] | None = None
        try:
            if os.fstat(self._descriptor).st_size:
                self.size = threadpool.run(_rehash, self._descriptor, self._hasher)
        except BaseException:
            self.close()
            raise

    def append(self, chunk: bytes) -> None:
        """Add ``chunk``. Raises StoreError, StoreFull."""
        with disk.store_errors(f"write the partial of {self._digest}"):
            disk.write_all(self._descriptor, chunk)
        self.size += len(chunk)
        self._batch.append(chunk)
        self._batched += len(chunk)
        if self._batched >= _BATCH:
            self._hash_batch()
            self._write_behind()

    def digest(self) -> Digest:
        """Return the digest of the bytes so far."""
        self._hash_batch()
        self._wait_for_hash()
        return Digest(self._digest.algorithm, self._hasher.hexdigest())

    def commit(self) -> None:
        """Give the bytes their name; the caller has compared ``digest()``. Raises StoreError, StoreFull."""
        with disk.store_errors(f"commit {self._digest}"):
            threadpool.run(self._commit)
        disk_error_log.note_success()

    def discard(self) -> None:
        """Unlink the bytes. Followers keep what they read and get no more; nothing is rewritten under them."""
        with disk.store_errors(f"discard the partial of {self._digest}"):
            disk.remove(self._path)

    def handle(self) -> ReadHandle:
        """Return a reader's handle of the same bytes. Raises StoreError, StoreFull."""
        with disk.store_errors(f"open the partial of {self._digest}"):
            return ReadHandle(os.dup(self._descriptor))

    def close(self) -> None:
        if self._descriptor >= 0:
            # It is in use there.
            self._wait_for_hash()
            self._wait_for_writing()
            os.close(self._descriptor)
            self._descriptor = -1

    def _hash_batch(self) -> None:
        """Let what has been appended be hashed, once what came before it has been."""
        self._wait_for_hash()
        batch, self._batch, self._batched = self._batch, [], 0
        if batch:
            self._hashed = threadpool.start(_hash, self._hasher, batch)

    def _wait_for_hash(self) -> None:
        hashed, self._hashed = self._hashed, None
        if hashed:
            hashed()

    def _write_behind(self) -> None:
        """Now and then let the disk begin with what has arrived since, so that a commit does not hold up others'."""
        if time.monotonic() - self._behind_since >= _BEHIND_SECONDS:
            self._wait_for_writing()
            start, self._behind = self._behind, self.size
            self._writing = threadpool.start(disk.write_behind, self._descriptor, start, self.size - start)
            self._behind_since = time.monotonic()

    def _wait_for_writing(self) -> None:
        writing, self._writing = self._writing, None
        if writing:
            writing()

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _commit(self) -> None:
        seal(self._descriptor, self.size)
        folder = os.path.dirname(self._target)
        disk.make_folder(folder)
        os.rename(self._path, self._target)
        disk.sync_folder(folder)


def _hash(hasher: Hasher, batch: list[bytes]) -> None:
    for chunk in batch:
        hasher.update(chunk)


def _open_to_append(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    try:
        return os.open(path, flags, 0o644)
    except PermissionError:
        # A leader that died between sealing the bytes and naming them; without this, nobody could ever go on.
        os.chmod(path, 0o644)
        return os.open(path, flags, 0o644)


def _rehash(descriptor: int, hasher: Hasher) -> int:
    """Feed ``hasher`` the whole file; return how many bytes that was."""
    size = 0
    while block := os.pread(descriptor, _READ_BLOCK, size):
        hasher.update(block)
        size += len(block)
    return size


def _parse_status(data: bytes) -> DownloadStatus | None:
    try:
        record = json.loads(data)
        failed = record["failed"]
        return DownloadStatus(
            upstream=str(record["upstream"]),
            repository=str(record["repository"]),
            at=float(record["at"]),
            size=None if record["size"] is None else int(record["size"]),
            error=RegistryError.from_record(failed) if isinstance(failed, Mapping) else None,
            answered=record.get("answered") is not False,
            verified=record.get("verified") is True,
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def failed_status(upstream: str, repository: str, error: RegistryError) -> DownloadStatus:
    """Return the status of a download that ended in ``error``, now."""
    return DownloadStatus(upstream, repository, time.time(), error=error)
