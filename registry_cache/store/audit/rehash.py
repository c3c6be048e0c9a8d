"""Stored bytes read once more and compared to their name, leaving no trace: no use noted, no page cache thrown out."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from registry_cache.oci.digest import Digest, Hasher
from registry_cache.store.blobs import recorded_size
from registry_cache.store.disk import ReadHandle

# Large enough that a system call costs nothing beside the hashing, small enough to keep a pace.
BLOCK = 1024 * 1024

# What says that this file's bytes cannot be had, whatever is done next: a bad sector, a checksum of the file system's.
BROKEN = {errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.ENODATA}

Kind = Literal["flipped", "size", "unreadable", "permissions", "owner", "other"]
Pace = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with a ``file``, in words; None where it may not be opened. ``other``: it is no regular file."""

    kind: Kind
    file: ReadHandle | None
    detail: str


def examine(path: str, digest: Digest, pace: Pace, reader: int) -> Damage | None:
    """Compare the bytes of ``path`` to ``digest``; None where they are right, or not there (any more).

    ``pace`` is told before each read how many bytes it is about, and may wait or raise. ``reader``: the id of the user
    who must be able to read it. Raises OSError for what says nothing of this file.
    """
    file = None
    try:
        file, noticed = _open(path)
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            return Damage("other", file, "no file")
        if not _readable(found, reader):
            return Damage("permissions", file, f"user {reader} may not read it")
        return _examine(file, found, digest, pace) or _unnoticed(file, found, noticed)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        return Damage("permissions", None, error.strerror or "")
    except OSError as error:
        if error.errno not in BROKEN:
            raise
        return Damage("unreadable", file or _named(path), error.strerror or "")


def _examine(file: ReadHandle, found: os.stat_result, digest: Digest, pace: Pace) -> Damage | None:
    recorded = recorded_size(file, found.st_size)
    if recorded != found.st_size:
        return Damage("size", file, f"is {found.st_size} bytes of {recorded}")
    hasher = digest.hasher()
    _feed(hasher, file.fileno(), found.st_size, pace)
    if digest.matches(hasher):
        return None
    return Damage("flipped", file, f"hashes to {Digest(digest.algorithm, hasher.hexdigest())}")


def _feed(hasher: Hasher, descriptor: int, size: int, pace: Pace) -> None:
    """Feed ``hasher`` the file. What clients keep in the page cache stays there, and nothing else does."""
    buffer = memoryview(bytearray(min(BLOCK, size)))
    # Before the first read: the kernel reads ahead.
    kept = [_is_cached(descriptor, min(offset + BLOCK, size) - 1) for offset in range(0, size, BLOCK)]
    for number, keep in enumerate(kept):
        offset = number * BLOCK
        wanted = min(BLOCK, size - offset)
        pace(wanted)
        hasher.update(buffer[: os.preadv(descriptor, [buffer[:wanted]], offset)])
        if not keep:
            with contextlib.suppress(OSError):
                os.posix_fadvise(descriptor, offset, BLOCK, os.POSIX_FADV_DONTNEED)


def _is_cached(descriptor: int, offset: int) -> bool:
    """Tell whether the byte at ``offset`` is in the page cache; False where this cannot be asked."""
    try:
        return os.preadv(descriptor, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except OSError:
        return False


def _open(path: str) -> tuple[ReadHandle, bool]:
    """Open a file; True where reading it changes its atime, which would make each look a use."""
    flags = os.O_RDONLY | os.O_NONBLOCK  # a pipe of that name must not stop us
    try:
        return ReadHandle(os.open(path, flags | os.O_NOATIME)), False
    except PermissionError:
        return ReadHandle(os.open(path, flags)), True


def _named(path: str) -> ReadHandle | None:
    """Hold on to a file that cannot be opened for reading."""
    with contextlib.suppress(OSError):
        return ReadHandle(os.open(path, os.O_PATH | os.O_NOFOLLOW))
    return None


def _unnoticed(file: ReadHandle, before: os.stat_result, noticed: bool) -> Damage | None:
    """Put the atime back where reading has changed it; it stays expired that is."""
    now = os.fstat(file.fileno())
    if not noticed or now.st_atime_ns == before.st_atime_ns:
        return None
    try:
        os.utime(file.fileno(), ns=(before.st_atime_ns, now.st_mtime_ns))
    except OSError:
        return Damage("owner", file, f"belongs to user {before.st_uid}: this look counts as a use of it")
    return None


def _readable(found: os.stat_result, reader: int) -> bool:
    """Tell whether the user may read the file; its group's right is taken for the user's."""
    if reader == 0:
        return True
    return bool(found.st_mode & (stat.S_IRUSR if found.st_uid == reader else stat.S_IRGRP | stat.S_IROTH))
