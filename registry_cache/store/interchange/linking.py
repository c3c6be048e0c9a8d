"""Share a file's bytes by a hard link or a reflink, and sync a whole file system: system calls that Linux offers."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat

from registry_cache.store import disk, modes

# Errors that mean this file cannot be linked here: another file system, another owner's file, too many names.
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS}

# ioctl(2) of btrfs, xfs and others: share the bytes until somebody changes them. linux/fs.h, FICLONE.
_CLONE = 0x40049409


def link_open(path: str, source: int, beside: str) -> bool:
    """Give the open file ``source`` the name ``beside``, last used now; False if that is impossible. Raises OSError."""
    try:
        os.link(path, beside)
        if os.path.samestat(os.lstat(beside), os.fstat(source)):
            # Before a cleanup takes it for something used long ago, or for a leftover.
            os.utime(source)
            # Only its owner may seal it, and an unsealed file must not become a blob.
            os.fchmod(source, stat.S_IMODE(os.fstat(source).st_mode))
            return True
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
    disk.remove(beside)
    return False


def clone(source: int, beside: str) -> bool:
    """Make ``beside`` a copy that takes no room until one of them changes; False where the disk cannot."""
    descriptor = modes.create(beside, os.O_WRONLY | os.O_EXCL)
    try:
        fcntl.ioctl(descriptor, _CLONE, source)
    except OSError:
        disk.remove(beside)
        return False
    finally:
        os.close(descriptor)
    return True


def sync_disk(folder: str) -> None:
    """Wait until the file system of ``folder`` has written everything it was given. Raises OSError.

    Only that one, which a link cannot leave: os.sync() would also wait for all others, and some hang.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), folder)
    finally:
        os.close(descriptor)
