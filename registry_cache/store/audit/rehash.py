"""Re-read stored bytes and compare them to their digest, without a trace in last use or page cache."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from registry_cache.oci import signed_manifest
from registry_cache.oci.digest import Digest, Hasher
from registry_cache.oci.manifest import MAX_MANIFEST_SIZE
from registry_cache.runtime.users import name_of_user
from registry_cache.store.blobs import recorded_size
from registry_cache.store.disk import ReadHandle

# Large enough that a system call costs little beside the hashing, small enough to keep a rate limit.
BLOCK = 1024 * 1024

# Errors that mean this file cannot be read, whoever tries: a bad sector, a wrong checksum of the file system.
UNREADABLE = {errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.ENODATA}

Kind = Literal["flipped", "size", "unreadable", "permissions", "owner", "other"]
Pace = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Damage:
    """Damage of a ``file``, in words in ``detail``; no file if it may not be opened. ``other``: not a regular file."""

    kind: Kind
    file: ReadHandle | None
    detail: str


def examine(path: str, digest: Digest, pace: Pace, reader: int, *, is_manifest: bool = False) -> Damage | None:
    """Compare the bytes of ``path`` to ``digest``; None where they match, or are gone.

    ``pace`` is called before each read with its number of bytes, and may wait or raise. ``reader``: the id of the user
    who must be able to read it. ``is_manifest``: a signed one is named by a part of its bytes. Raises OSError for an
    error that is not about this file.
    """
    file = None
    try:
        file, changes_atime = _open(path)
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            return Damage("other", file, "not a file")
        if not _readable(found, reader):
            return Damage("permissions", file, f"user {reader} may not read it")
        damage = _examine(file, found, digest, pace)
        if is_manifest and damage and damage.kind == "flipped" and _is_signed(file, found.st_size, digest):
            damage = None
        return damage or _restore_atime(file, found, changes_atime)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        return Damage("permissions", None, error.strerror or "")
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise
        return Damage("unreadable", file or _handle_of(path), error.strerror or "")


def _examine(file: ReadHandle, found: os.stat_result, digest: Digest, pace: Pace) -> Damage | None:
    recorded = recorded_size(file, found.st_size)
    if recorded != found.st_size:
        return Damage("size", file, f"is {found.st_size} bytes of {recorded}")
    hasher = digest.hasher()
    _feed(hasher, file.fileno(), found.st_size, pace)
    if digest.matches(hasher):
        return None
    return Damage("flipped", file, f"hashes to {Digest(digest.algorithm, hasher.hexdigest())}")


def _is_signed(file: ReadHandle, size: int, digest: Digest) -> bool:
    return size <= MAX_MANIFEST_SIZE and signed_manifest.is_named(file.read_at(0, size), digest)


def _feed(hasher: Hasher, descriptor: int, size: int, pace: Pace) -> None:
    """Feed ``hasher`` the file. Only what was in the page cache before stays there."""
    buffer = memoryview(bytearray(min(BLOCK, size)))
    # Before the first read: the kernel reads ahead.
    was_cached = [_is_cached(descriptor, min(offset + BLOCK, size) - 1) for offset in range(0, size, BLOCK)]
    for number, keep in enumerate(was_cached):
        offset = number * BLOCK
        wanted = min(BLOCK, size - offset)
        pace(wanted)
        hasher.update(buffer[: _read(descriptor, buffer[:wanted], offset)])
        if not keep:
            with contextlib.suppress(OSError):
                os.posix_fadvise(descriptor, offset, BLOCK, os.POSIX_FADV_DONTNEED)


def _read(descriptor: int, buffer: memoryview, offset: int) -> int:
    """Fill ``buffer``, although the disk may give less at a time; return how many bytes there were."""
    count = 0
    while count < len(buffer) and (more := os.preadv(descriptor, [buffer[count:]], offset + count)):
        count += more
    return count


def _is_cached(descriptor: int, offset: int) -> bool:
    """Tell whether the byte at ``offset`` is in the page cache; False where the kernel cannot say."""
    try:
        return os.preadv(descriptor, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except OSError:
        return False


def _open(path: str) -> tuple[ReadHandle, bool]:
    """Open a file; True if reading it changes its atime, so that every verify would count as a use."""
    flags = os.O_RDONLY | os.O_NONBLOCK  # a pipe of that name must not stop us
    try:
        return ReadHandle(os.open(path, flags | os.O_NOATIME)), False
    except PermissionError:
        return ReadHandle(os.open(path, flags)), True


def _handle_of(path: str) -> ReadHandle | None:
    """Return a handle of a file that cannot be opened for reading."""
    with contextlib.suppress(OSError):
        return ReadHandle(os.open(path, os.O_PATH | os.O_NOFOLLOW))
    return None


def _restore_atime(file: ReadHandle, before: os.stat_result, changed: bool) -> Damage | None:
    """Put the atime back where reading has changed it, so that an expired file stays expired."""
    now = os.fstat(file.fileno())
    if not changed or now.st_atime_ns == before.st_atime_ns:
        return None
    try:
        os.utime(file.fileno(), ns=(before.st_atime_ns, now.st_mtime_ns))
    except OSError:
        return Damage("owner", file, f"belongs to user {name_of_user(before.st_uid)}: this look counts as a use of it")
    return None


def _readable(found: os.stat_result, reader: int) -> bool:
    """Tell whether the user may read the file, taking the user to be in the file's group."""
    if reader == 0:
        return True
    return bool(found.st_mode & (stat.S_IRUSR if found.st_uid == reader else stat.S_IRGRP | stat.S_IROTH))
