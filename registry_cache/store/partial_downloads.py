"""Partials: the bytes of one unfinished blob, which one leader appends and anyone may read.

``layout`` has a table of the states that a partial goes through.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import time
from collections.abc import Callable
from weakref import WeakSet

from registry_cache.oci.digest import Digest, Hasher
from registry_cache.runtime import threadpool
from registry_cache.store import atomic_write, disk, locks, modes
from registry_cache.store.blobs import seal
from registry_cache.store.disk import ReadHandle, open_file
from registry_cache.store.disk_errors import disk_error_log
from registry_cache.store.download_status import DownloadStatus, read_status, write_status
from registry_cache.store.layout import Layout

_READ_BLOCK = 1024 * 1024

# sync_file_range(2), which Python does not offer.
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)
_SYNC_FILE_RANGE_WRITE = 2

# Bytes that are hashed in one go: enough that handing them to another thread costs little in comparison.
_BATCH = 1024 * 1024
# What all partials of a process hold unhashed, apart from a chunk each: else an upstream that falls silent in
# the middle of hundreds of blobs has a worker keep hundreds of MiB.
_BATCHES = 16 * 1024 * 1024

# Seconds between two requests to the disk to start writing, so that little is left to write at the commit.
_WRITEBACK_SECONDS = 1.0


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
        """Open an unfinished blob for a follower; None where there is none. Raises StoreError."""
        with disk.store_errors(f"open the partial of {digest}"):
            return ReadHandle.open(self._layout.partial(digest))

    def status(self, digest: Digest) -> DownloadStatus | None:
        """Return the last leader's status; None where there is none. Raises StoreError."""
        with disk.store_errors(f"read the status of {digest}"):
            data = disk.read_whole(self._layout.status(digest))
        return read_status(data) if data else None

    def is_led(self, digest: Digest) -> bool:
        """Tell whether somebody leads a download of ``digest`` now. Raises StoreError."""
        with disk.store_errors(f"look for the leader of {digest}"):
            return locks.is_locked(self._layout.lock(digest))

    def forget_failure(self, digest: Digest) -> None:
        """Remove the status of a download that failed and left no byte, unless one is led now. Raises StoreError."""
        claim = self.claim(digest)
        if claim:
            with claim, disk.store_errors(f"forget the failure of {digest}"):
                status = self.status(digest)
                if status and status.error and not disk.stat(self._layout.partial(digest)):
                    disk.remove(self._layout.status(digest))


class Claim:
    """The right to write one digest's partial, by its lock. Use ``with``; leaving it frees the lock."""

    def __init__(self, layout: Layout, digest: Digest, lock: locks.LockFile) -> None:
        self._layout = layout
        self._digest = digest
        self._lock = lock

    def partial(self) -> Partial:
        """Open the partial, with what an earlier leader left; the caller closes it. Raises StoreError, StoreFull."""
        with disk.store_errors(f"open the partial of {self._digest}"):
            return Partial(self._layout, self._digest)

    def publish(self, status: DownloadStatus) -> None:
        """Publish ``status``. Raises StoreError, StoreFull."""
        path, data = self._layout.status(self._digest), write_status(status)
        with disk.store_errors(f"write the status of {self._digest}"):
            try:
                atomic_write.write_whole(path, data)
            except OSError as error:
                # On a full disk there is no room for one more file, but that the download failed must be published.
                no_room = error.errno in (errno.ENOSPC, errno.EDQUOT)
                if not (status.error and no_room and _write_over(path, data)):
                    raise

    def discard(self, *, only_empty: bool = False) -> None:
        """Unlink the partial, or only an empty one; readers keep their descriptors. Raises StoreError."""
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
        self._lock.release()


class Partial:
    """The bytes so far: ``size`` of them. Only the claim's holder has one, and it only appends.

    They are hashed on another core, a batch at a time, while the next ones arrive.
    """

    def __init__(self, layout: Layout, digest: Digest) -> None:
        """Open and re-hash the bytes so far: a hash state does not survive its process. Raises OSError."""
        self._path = layout.partial(digest)
        self._target = layout.blob(digest)
        self._digest = digest
        self._hasher: Hasher = digest.hasher()
        self._descriptor = _open_to_append(self._path)
        self.size = 0
        self._batch: list[bytes] = []
        self._batched = 0
        _open.add(self)
        self._hashed: Callable[[], None] | None = None
        self._written_back = 0
        self._written_back_at = time.monotonic()
        self._writeback: Callable[[], None] | None = None
        try:
            if os.fstat(self._descriptor).st_size:
                self.size = threadpool.run(_rehash, self._descriptor, self._hasher)
        except BaseException:
            self.close()
            raise

    def append(self, chunk: bytes) -> None:
        """Add ``chunk``. Raises StoreError, StoreFull."""
        with disk.store_errors(f"write the partial of {self._digest}"):
            atomic_write.write_all(self._descriptor, chunk)
        self.size += len(chunk)
        self._batch.append(chunk)
        self._batched += len(chunk)
        if self._batched >= min(_BATCH, _BATCHES // len(_open)):
            self._hash_batch()
            self._start_writeback()

    def digest(self) -> Digest:
        """Return the digest of the bytes so far."""
        self._hash_batch()
        self._wait_for_hash()
        return Digest(self._digest.algorithm, self._hasher.hexdigest())

    def commit(self, upstream: str = "") -> None:
        """Give the bytes their name; the caller has compared ``digest()``. ``upstream``: where they came from.

        Raises StoreError, StoreFull.
        """
        with disk.store_errors(f"commit {self._digest}"):
            threadpool.run(self._commit, upstream)
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
        _open.discard(self)
        if self._descriptor >= 0:
            # Other threads still use the descriptor.
            self._wait_for_hash()
            self._wait_for_writeback()
            os.close(self._descriptor)
            self._descriptor = -1

    def _hash_batch(self) -> None:
        """Start hashing what has been appended, after what came before it."""
        self._wait_for_hash()
        batch, self._batch, self._batched = self._batch, [], 0
        if batch:
            self._hashed = threadpool.start(_hash, self._hasher, batch)

    def _wait_for_hash(self) -> None:
        hashed, self._hashed = self._hashed, None
        if hashed:
            hashed()

    def _start_writeback(self) -> None:
        """Once a second let the disk start writing what has arrived, so that commits do not hold each other up."""
        if time.monotonic() - self._written_back_at >= _WRITEBACK_SECONDS:
            self._wait_for_writeback()
            start, self._written_back = self._written_back, self.size
            self._writeback = threadpool.start(_writeback, self._descriptor, start, self.size - start)
            self._written_back_at = time.monotonic()

    def _wait_for_writeback(self) -> None:
        writeback, self._writeback = self._writeback, None
        if writeback:
            writeback()

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _commit(self, upstream: str) -> None:
        seal(self._descriptor, self.size, upstream)
        os.fsync(self._descriptor)
        folder = os.path.dirname(self._target)
        atomic_write.make_folder(folder)
        os.rename(self._path, self._target)
        atomic_write.sync_folder(folder)


# Those of this process that are being filled.
_open: WeakSet[Partial] = WeakSet()


def _hash(hasher: Hasher, batch: list[bytes]) -> None:
    for chunk in batch:
        hasher.update(chunk)


def _open_to_append(path: str) -> int:
    flags = os.O_RDWR | os.O_APPEND
    try:
        return modes.create(path, flags)
    except PermissionError:
        # A leader died between sealing the bytes and naming them; without this, nobody could ever resume.
        os.chmod(path, modes.FILE)
        return modes.create(path, flags)


def _writeback(descriptor: int, start: int, length: int) -> None:
    """Let the disk start writing these bytes, so that a later fsync has little left to do; waits for nothing.

    Only a hint: without the call, or on a disk that refuses it, the fsync writes them all.
    """
    if _sync_file_range is not None:
        _sync_file_range(descriptor, ctypes.c_int64(start), ctypes.c_int64(length), _SYNC_FILE_RANGE_WRITE)


def _write_over(path: str, data: bytes) -> bool:
    """Write JSON ``data`` over the file at ``path``, which needs no further room; False where it is missing.

    A reader may see half of each, and takes a status that it cannot parse for missing. Raises OSError.
    """
    try:
        descriptor = open_file(path, os.O_WRONLY)
    except FileNotFoundError:
        return False
    try:
        # Spaces cover whatever a longer status would leave behind it.
        os.pwrite(descriptor, data.ljust(os.fstat(descriptor).st_size), 0)
    finally:
        os.close(descriptor)
    return True


def _rehash(descriptor: int, hasher: Hasher) -> int:
    """Feed ``hasher`` the whole file; return how many bytes that was."""
    size = 0
    while block := os.pread(descriptor, _READ_BLOCK, size):
        hasher.update(block)
        size += len(block)
    return size
