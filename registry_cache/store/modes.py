"""Make folders and files that the cache's group may read and nobody else, whatever the umask.

A store may hold private images. nginx reads it as a member of the group.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from registry_cache.store.disk import NoFile, open_file

FOLDER, FILE, SEALED = 0o750, 0o640, 0o440
# What is written elsewhere, such as an export, has what its user's umask leaves of this.
PUBLIC = 0o644

_NO_MODES = {errno.EROFS, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


def make_folders(path: str) -> None:
    """Make the folder ``path`` and those above it that are missing. Raises OSError."""
    try:
        os.mkdir(path, FOLDER)
    except FileNotFoundError:
        make_folders(os.path.dirname(path))
        make_folders(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    else:
        _set(path, FOLDER)


def make_folder(path: str) -> None:
    """Make the folder ``path``. Raises OSError, FileExistsError and FileNotFoundError among them."""
    os.mkdir(path, FOLDER)
    _set(path, FOLDER)


def close_to_others(folder: str) -> None:
    """Take from other users what an older version, or somebody else, let them do in ``folder``, if we own it."""
    mode = stat.S_IMODE(os.stat(folder).st_mode)
    if mode & 0o007:
        with contextlib.suppress(PermissionError), _suppress_unsupported():
            os.chmod(folder, mode & ~0o007)


def create(path: str, flags: int, mode: int = FILE) -> int:
    """Open ``path`` for writing by ``flags``, and return its descriptor. Raises OSError.

    A pipe, or a link that leads out of the store, is replaced.
    """
    try:
        descriptor = open_file(path, flags | os.O_CREAT, mode)
    except NoFile:
        os.unlink(path)
        descriptor = open_file(path, flags | os.O_CREAT, mode)
    if mode == PUBLIC:
        return descriptor
    try:
        # A file of another user, such as one that root left, will do if we may write to it.
        with contextlib.suppress(PermissionError):
            os.fchmod(descriptor, mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def _suppress_unsupported() -> Iterator[None]:
    """Go on where a file system is mounted read-only, or has no modes, as those of Windows and some of the network."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise


def _set(folder: str, mode: int) -> None:
    found = os.stat(folder).st_mode
    if found & 0o777 != mode:
        # A folder in one with the set-group-ID bit has that too, and hands on its group.
        os.chmod(folder, (stat.S_IMODE(found) & ~0o777) | mode)
