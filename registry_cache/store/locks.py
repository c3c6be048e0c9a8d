"""``flock`` on files made for it: one holder on this machine, freed by the kernel when the holder dies.

Never ``lockf``: POSIX locks do not exclude two threads of a process and vanish when any descriptor of the file closes.
The holder unlinks the file before it lets go, so locks leave no litter; whoever locks a file that has no name any more
locked yesterday's and must open anew (``LockFile.has_name``).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator


class LockFile:
    """One open description of a lock file. Close it (or use ``with``); closing frees the lock.

    The holder may leave a note in it for those who wait. They read it through their own descriptors after the name is
    gone: the note reaches exactly those who came while it was held.
    """

    def __init__(self, path: str) -> None:
        """Open ``path``, making it and its folder where they are missing. Raises OSError."""
        self._path = path
        self._descriptor = _open(path)

    def acquire(self) -> bool:
        """Take the lock if it is free; never waits. Raises OSError."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def has_name(self) -> bool:
        """Tell whether the file still has its name; ask while holding the lock."""
        return os.fstat(self._descriptor).st_nlink > 0

    def read(self) -> bytes:
        """Return the note; b"" where there is none."""
        return os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)

    def write(self, note: bytes) -> None:
        """Leave ``note`` for those who wait; ask while holding the lock. Raises OSError."""
        # Never cut to nothing first: ext4 takes that for a file being replaced, and allocates its blocks at the close.
        os.pwrite(self._descriptor, note, 0)
        if os.fstat(self._descriptor).st_size > len(note):
            os.ftruncate(self._descriptor, len(note))

    def retire(self) -> None:
        """Unlink the file, while holding the lock; the next who comes makes a new one."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def close(self) -> None:
        """Free the lock, if held, and the descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> LockFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def try_lock(path: str) -> LockFile | None:
    """Return the lock of ``path``, held; None while somebody else holds it. Raises OSError."""
    while True:
        lock = LockFile(path)
        held = False
        try:
            if not lock.acquire():
                return None
            held = lock.has_name()
        finally:
            if not held:
                lock.close()
        if held:
            return lock


@contextlib.contextmanager
def hold_if_free(path: str) -> Iterator[bool]:
    """Hold the lock of ``path`` inside, and leave no file behind; False while somebody else holds it. Raises OSError.

    Where there is no room for one more file, nobody holds one that is not there: then True, or a full disk would never
    be less full.
    """
    try:
        lock = try_lock(path)
        free = lock is not None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or os.path.exists(path):
            raise
        lock, free = None, True
    try:
        yield free
    finally:
        if lock is not None:
            with lock:
                lock.retire()


def is_locked(path: str) -> bool:
    """Tell whether somebody holds the lock of ``path``; makes no file and needs no right to write. Raises OSError.

    A shared lock for an instant: observers never take each other for a holder. Who tries to take the lock in that
    instant finds it taken, and tries again as behind any other holder.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _open(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT
    try:
        return os.open(path, flags, 0o644)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags, 0o644)
