"""``flock`` on files made for it: one holder on this machine, freed by the kernel when the holder dies.

Never ``lockf``: POSIX locks do not exclude two threads of a process and vanish when any descriptor of the file closes.
The holder unlinks the file before it frees the lock, so locks leave no litter; whoever locks a file that has lost its
name must open it again (``LockFile.has_name``).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from registry_cache.store import modes

# Seconds between two attempts for a lock that somebody else holds.
_FIRST_POLL, _LAST_POLL = 0.002, 0.02

_T = TypeVar("_T")


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
        """Leave ``note`` for those who wait; call it while holding the lock. Raises OSError."""
        # Never cut to nothing first: ext4 takes that for a file being replaced, and allocates its blocks at the close.
        os.pwrite(self._descriptor, note, 0)
        if os.fstat(self._descriptor).st_size > len(note):
            os.ftruncate(self._descriptor, len(note))

    def retire(self) -> None:
        """Unlink the file while holding the lock; whoever comes next makes a new one."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def release(self) -> None:
        """Unlink the file and free the lock."""
        try:
            self.retire()
        finally:
            self.close()

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


def wait_for(attempt: Callable[[], _T | None], timeout: float) -> _T | None:
    """Call ``attempt`` until it returns something true, and return that; None after ``timeout`` seconds.

    For attempts to take a lock. The pauses grow from 2 to 20 ms. Raises what ``attempt`` raises.
    """
    deadline, pause = time.monotonic() + timeout, _FIRST_POLL
    while not (taken := attempt()):
        if time.monotonic() > deadline:
            return None
        time.sleep(pause)
        pause = min(pause * 2, _LAST_POLL)
    return taken


@contextlib.contextmanager
def hold_if_free(path: str) -> Iterator[bool]:
    """Hold the lock of ``path`` inside, and leave no file behind; False while somebody else holds it. Raises OSError.

    On a full disk a missing lock file cannot be made; since nobody holds one that is missing, the answer then is True:
    otherwise cleanup could never free a full disk.
    """
    try:
        lock = try_lock(path)
        is_free = lock is not None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or os.path.exists(path):
            raise
        lock, is_free = None, True
    try:
        yield is_free
    finally:
        if lock:
            lock.release()


def is_locked(path: str) -> bool:
    """Tell whether somebody holds the lock of ``path``; makes no file and needs no right to write. Raises OSError.

    It takes a shared lock for an instant, so observers never take each other for a holder. Whoever tries to take the
    lock in that instant finds it taken, and tries again as with any other holder.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
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
    # No link is followed, and no pipe waited for: both are errors.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.open(path, flags, modes.FILE)
    except FileNotFoundError:
        modes.make_folders(os.path.dirname(path))
        return os.open(path, flags, modes.FILE)
