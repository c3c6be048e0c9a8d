"""Open and read files of the store, tell when they were last used, and turn the disk's errors into the store's.

The inode knows its last use: the newer of its atime and its mtime. ``relatime`` keeps atime to the day for every
reader, nginx too; we touch mtime, once a minute, where we serve. All names of a blob are one inode, so its use in any
repository is its use in all. Moments are nanoseconds since the epoch; one in the future (a clock was put back) counts
as the newest.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time

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


class ReadHandle:
    """A file open for reading, shared by any number of readers; closed when the last of them drops it.

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
    """Return the bytes of a small file; None if it is missing or larger than ``limit`` bytes.

    Raises OSError for anything else.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read() if os.fstat(descriptor).st_size <= limit else None


def stat(path: str) -> os.stat_result | None:
    """Return what stat(2) says of ``path``; None where there is nothing of that name. Raises OSError."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
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
