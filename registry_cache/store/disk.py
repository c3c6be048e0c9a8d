"""File operations that keep a promise: a name appears whole or not at all, and a failing disk has one kind of error."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import os
import secrets

from registry_cache.errors import StoreError, StoreFull
from registry_cache.store.disk_errors import disk_error_log

# What says "no room" rather than "broken": the pull can go on, only uncached.
_NO_ROOM = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.EMLINK, errno.ENFILE, errno.EMFILE),
}

# No record is near it: a manifest is 4 MiB at most and a list of upstream's 8. What is larger is not ours to load.
MAX_RECORD_SIZE = 16 * 1024 * 1024

# sync_file_range(2), which Python does not offer.
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)
_SYNC_FILE_RANGE_WRITE = 2

_counter = itertools.count()
# Workers in two containers over one folder have the same process ids, and so has a worker after a restart.
_instance = secrets.token_hex(4)


class store_errors:
    """Turn an OSError inside into StoreFull or StoreError, which say ``what`` was being done and to which file.

    No generator: a hit enters up to four, and each chunk of a download one.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            disk_error_log.note(self._what, error)
            kind = StoreFull if error.errno in _NO_ROOM else StoreError
            raise kind(f"could not {self._what}: {error.strerror or error}", detail=error.filename) from error


def write_whole(path: str, data: bytes, modified: int | None = None, *, synced: bool = False) -> None:
    """Make ``path`` hold ``data``: written beside and renamed, so a reader sees the old bytes or the new ones.

    Where it is ``synced``, a power cut behind this leaves the new bytes, one before it those or the old ones. Else it
    may leave an empty file, which every reader of a record takes for an absent one.
    Folders on the way are made. ``modified``: the mtime that it appears with, in nanoseconds. Raises OSError.
    """
    folder = os.path.dirname(path)
    # A leading dot: no tag and no digest begins with one, so nothing takes this name for a record.
    beside = os.path.join(folder, f".{_instance}-{os.getpid()}-{next(_counter)}")
    try:
        descriptor = _create(beside, folder)
        try:
            write_all(descriptor, data)
            if modified is not None:
                os.utime(descriptor, ns=(modified, modified))
            if synced:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(beside, path)
        if synced:
            sync_folder(folder)
    except OSError:
        remove(beside)
        raise


def write_over(path: str, data: bytes) -> bool:
    """Write JSON ``data`` over the file at ``path``, for which it needs no further room; False where it is not there.

    A reader may see half of each: only for records that are nothing to whoever cannot parse them. Raises OSError.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY)
    except FileNotFoundError:
        return False
    try:
        # Spaces, for whatever of a longer record would be left behind it.
        os.pwrite(descriptor, data.ljust(os.fstat(descriptor).st_size), 0)
    finally:
        os.close(descriptor)
    return True


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of ``data``; a full disk may take a part of it first. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def read_whole(path: str, limit: int = MAX_RECORD_SIZE) -> bytes | None:
    """Return the bytes of a small file; None where there is none of at most ``limit`` bytes.

    Raises OSError for anything else.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read() if os.fstat(descriptor).st_size <= limit else None


def link(source: str, target: str) -> None:
    """Make ``target`` a second name of ``source``; a name that is there already stays.

    Where the file system gives no more hard links (EMLINK) or none at all, a symbolic link stands in: a path that can
    be opened is still the permission to read. Raises OSError.
    """
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        os.link(source, target)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP):
            raise
        with contextlib.suppress(FileExistsError):
            os.symlink(os.path.relpath(source, os.path.dirname(target)), target)


def remove(path: str) -> bool:
    """Unlink ``path``; False where it was not there. Raises OSError for anything else."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def same(path: str, other: str) -> bool:
    """Tell whether both are names of one file; False where one is missing. Raises OSError for anything else."""
    try:
        return os.path.samefile(path, other)
    except (FileNotFoundError, NotADirectoryError):
        return False


def write_behind(descriptor: int, start: int, length: int) -> None:
    """Let the disk begin to write these bytes, so that a later fsync finds most of its work done; waits for nothing.

    A hint: a system without the call, or a disk that refuses it, writes them at the fsync.
    """
    if _sync_file_range is not None:
        _sync_file_range(descriptor, ctypes.c_int64(start), ctypes.c_int64(length), _SYNC_FILE_RANGE_WRITE)


def make_folder(path: str) -> None:
    """Make the folder ``path``, so that its name would survive a power cut as well. Raises OSError."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    except FileNotFoundError:
        os.makedirs(path, exist_ok=True)
    sync_folder(os.path.dirname(path))


def sync_whole(path: str) -> None:
    """Wait until the file at ``path`` and its name would survive a power cut. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    """Wait until the names in the folder ``path`` would survive a power cut. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create(path: str, folder: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return os.open(path, flags, 0o644)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        return os.open(path, flags, 0o644)


class ReadHandle:
    """A file open for reading, shared by any number of readers; closed when the last of them lets go of it.

    Readers hold this, never a path: when the name is unlinked under them they still finish (byte-safety rule 5).
    """

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: str) -> ReadHandle | None:
        """Open ``path``; None where there is nothing of that name. Raises OSError for anything else."""
        try:
            return cls(os.open(path, os.O_RDONLY))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def fileno(self) -> int:
        return self._descriptor

    def size(self) -> int:
        """Return how many bytes there are now."""
        return os.fstat(self._descriptor).st_size

    def has_name(self) -> bool:
        """Tell whether the file has a name left."""
        return os.fstat(self._descriptor).st_nlink > 0

    def is_same_file(self, other: ReadHandle) -> bool:
        """Tell whether ``other`` is the same file, whatever its name."""
        return os.path.samestat(os.fstat(self._descriptor), os.fstat(other._descriptor))

    def is_at(self, path: str) -> bool:
        """Tell whether ``path`` itself names the file now. Raises OSError."""
        try:
            return os.path.samestat(os.lstat(path), os.fstat(self._descriptor))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``offset``; b"" at the end. Raises OSError."""
        return os.pread(self._descriptor, length, offset)

    def __del__(self) -> None:
        os.close(self._descriptor)
