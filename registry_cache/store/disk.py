"""Open and read files of the store, tell when they were last used, and turn the disk's errors into the store's.

The inode knows its last use: the newer of its atime and its mtime. ``relatime`` keeps atime to the day for every
reader, nginx too; we touch mtime, once a minute, where we serve. All names of a blob are one inode, so its use in any
repository is its use in all. Moments are nanoseconds since the epoch; one in the future (a clock was put back) counts
as the newest, but for the cleanup that must make room (``policy.eviction.in_order``).

Nothing but a file is opened: no pipe, no device, no link that leads out of the store. Whoever gets such a thing in
there, as with a backup or a copied folder, must neither make a worker wait without an end nor have other files of the
machine served. What is not a file counts as missing, and is replaced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from stat import S_ISREG

from registry_cache.errors import StoreError, StoreFull
from registry_cache.store.disk_errors import disk_error_log

# Errors that mean "no room" rather than "broken": the pull can go on, only uncached.
_NO_ROOM = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.EMLINK, errno.ENFILE, errno.EMFILE),
}

# No record comes near it: a manifest has 4 MiB at most and a list from upstream 8. A larger file is not ours to load.
MAX_RECORD_SIZE = 16 * 1024 * 1024

# Exact enough to tell what to evict first where a store turns over within hours, and only one write a minute for a blob
# that is asked for a thousand times a second.
TOUCH_SECONDS = 60

# What open(2) says of a symbolic link, of a pipe that nobody reads or a socket, and of a device without a driver.
_NO_FILE = {errno.ELOOP, errno.ENXIO, errno.ENODEV}

# Folders of the store that an operator may have put on another disk by a link of his own.
_TOP = 1

# st_blocks counts in units of this, whatever the blocks of the file system are (stat(2)).
BLOCK = 512


class store_errors:
    """Turn an OSError inside into StoreFull or StoreError, which say ``what`` was being done and to which file.

    A class and not a generator, for speed: a hit enters up to four, and each chunk of a download one.
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


class NoFile(FileNotFoundError):
    """There is something of that name, but it is not a file of the store."""


def is_full(error: BaseException) -> bool:
    """Tell whether ``store_errors`` found the disk full: for one that is broken or read-only nothing is evicted."""
    cause = error.__cause__
    return isinstance(error, StoreFull) and isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def open_file(path: str, flags: int = os.O_RDONLY, mode: int = 0o640) -> int:
    """Return a descriptor of the file at ``path``, which the caller closes; never waits. Raises OSError, NoFile."""
    return open_found(path, flags, mode)[0]


def open_found(path: str, flags: int = os.O_RDONLY, mode: int = 0o640) -> tuple[int, os.stat_result]:
    """Do as ``open_file``, and return what fstat(2) says of the file as well."""
    try:
        descriptor, found = _open(path, flags, mode)
    except NoFile:
        # Where there are no hard links, a symbolic one to the blob stands in.
        blob = _stand_in(path)
        if blob is None:
            raise
        return _open(blob, flags, mode)
    if not _is_where_it_says(descriptor, path):
        os.close(descriptor)
        raise NoFile(errno.ENOENT, "it lies outside of the store", path)
    return descriptor, found


def open_source(path: str) -> int:
    """Return a descriptor of an operator's file outside of the store, which may be a link. Raises OSError, NoFile."""
    return _require_file(os.open(path, os.O_RDONLY | os.O_NONBLOCK), path)[0]


def is_file(path: str) -> bool:
    """Tell whether a file of the store, or a link to a blob that stands in for one, is at ``path``."""
    try:
        return S_ISREG(os.lstat(path).st_mode) or _stand_in(path) is not None
    except (FileNotFoundError, NotADirectoryError):
        return False


def _open(path: str, flags: int, mode: int) -> tuple[int, os.stat_result]:
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, mode)
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise NoFile(errno.ENOENT, "it is not a file", path) from error
    return _require_file(descriptor, path)


def _require_file(descriptor: int, path: str) -> tuple[int, os.stat_result]:
    found = os.fstat(descriptor)
    if not S_ISREG(found.st_mode):
        os.close(descriptor)
        raise NoFile(errno.ENOENT, "it is not a file", path)
    return descriptor, found


def _stand_in(path: str) -> str | None:
    """Return the blob that the symbolic link at ``path`` leads to; None where it leads anywhere else."""
    root = _root(path)
    try:
        target = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
    except OSError:
        return None
    # Of the same digest: a manifest's name has its kind after a dot.
    digest = os.path.basename(path).partition(".")[0]
    is_blob = root is not None and target.startswith(f"{root}/blobs/") and os.path.basename(target) == digest
    return target if is_blob else None


def _is_where_it_says(descriptor: int, path: str) -> bool:
    """Tell whether no link below the store's top folders has led from ``path`` to what is open."""
    try:
        if os.readlink(f"/proc/self/fd/{descriptor}") == path:
            return True
    except OSError:
        # Without /proc only the last name of a path is looked at.
        return True
    root = _root(path)
    if root is None:
        return True
    parts = os.path.relpath(os.path.dirname(path), root).split("/")
    folders = ["/".join((root, *parts[:count])) for count in range(_TOP + 1, len(parts) + 1)]
    return not any(os.path.islink(folder) for folder in folders)


def _root(path: str) -> str | None:
    """Return the store that ``path`` lies in, which is known by the file ``layout``; None where there is none."""
    folder = os.path.dirname(path)
    while len(folder) > 1:
        with contextlib.suppress(OSError):
            if S_ISREG(os.lstat(f"{folder}/layout").st_mode):
                return folder
        folder = os.path.dirname(folder)
    return None


class ReadHandle:
    """A file open for reading, shared by any number of readers; closed when the last of them drops it.

    Readers hold this, never a path: when the name is unlinked under them they still finish (byte-safety rule 5).
    """

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: str) -> ReadHandle | None:
        """Open ``path``; None where there is no file of that name. Raises OSError for anything else."""
        opened = cls.open_found(path)
        return opened and opened[0]

    @classmethod
    def open_found(cls, path: str) -> tuple[ReadHandle, os.stat_result] | None:
        """Do as ``open``, and return what fstat(2) says of the file as well."""
        try:
            descriptor, found = open_found(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return cls(descriptor), found

    def fileno(self) -> int:
        return self._descriptor

    def size(self) -> int:
        """Return how many bytes the file has now."""
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


def read_whole(path: str, limit: int = MAX_RECORD_SIZE) -> bytes | None:
    """Return the bytes of a small file; None if it is missing, no file, or larger than ``limit`` bytes.

    Raises OSError for anything else.
    """
    return _read(open_file, path, limit)


def read_source(path: str, limit: int = MAX_RECORD_SIZE) -> bytes | None:
    """Return the bytes of an operator's small file outside of the store, as ``read_whole`` does."""
    return _read(open_source, path, limit)


def _read(open_: Callable[[str], int], path: str, limit: int) -> bytes | None:
    try:
        descriptor = open_(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        # Whatever its size says: it may grow meanwhile, or be a kernel's file, whose size is not known.
        data = file.read(limit + 1)
    return data if len(data) <= limit else None


def stat(path: str) -> os.stat_result | None:
    """Return what stat(2) says of ``path``; None where there is nothing of that name. Raises OSError."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        # A link to itself leads to nothing.
        return None


def entries(folder: str) -> list[os.DirEntry[str]]:
    """Return what is in a folder; nothing where there is no such folder. Raises OSError."""
    try:
        with os.scandir(folder) as found:
            return list(found)
    except (FileNotFoundError, NotADirectoryError):
        return []


def is_same_file(path: str, other: str) -> bool:
    """Tell whether both are names of one file; False where one is missing. Raises OSError for anything else."""
    try:
        return os.path.samefile(path, other)
    except (FileNotFoundError, NotADirectoryError):
        return False


def remove(path: str) -> bool:
    """Unlink ``path``; False where it was not there. Raises OSError for anything else."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def remove_empty_folders(path: str, top: str) -> None:
    """Remove the folder ``path``, and those around it below ``top``, up to one that holds something. Raises OSError."""
    while path.startswith(f"{top}/"):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return
        path = os.path.dirname(path)


def last_use(found: os.stat_result) -> int:
    """Return when the file was last used, in nanoseconds since the epoch."""
    return max(found.st_atime_ns, found.st_mtime_ns)


def is_touch_due(found: os.stat_result) -> bool:
    """Tell whether the next use of a file will be noted."""
    return time.time() - found.st_mtime > TOUCH_SECONDS


def touch(file: int | str, found: os.stat_result) -> None:
    """Note, at most once a minute, that ``file`` is used: a descriptor or a path, of which ``found`` was just read."""
    if is_touch_due(found):
        # A store mounted read-only, or another owner's file: a hit is worth more than its time of use.
        with contextlib.suppress(OSError):
            os.utime(file)
