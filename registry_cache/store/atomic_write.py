"""Put files into place so that a name appears whole or not at all: write beside and rename, link, sync."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
from collections.abc import Iterator

from registry_cache.store import disk, modes
from registry_cache.store.disk import is_file

_counter = itertools.count()
# Workers in two containers over one folder have the same process ids, and so has a worker after a restart.
_instance = secrets.token_hex(4)


def beside(path: str) -> str:
    """Return a new name in the folder of ``path`` for a file that is not finished.

    It begins with a dot, as no tag and no digest does, so nothing takes it for a record; cleanup removes an old one.
    """
    return f"{os.path.dirname(path) or '.'}/.{_instance}-{os.getpid()}-{next(_counter)}"


@contextlib.contextmanager
def replacing(path: str, *, synced: bool = False, make_folders: bool = True, private: bool = True) -> Iterator[int]:
    """Open a new file beside ``path`` for writing; it takes that name at the end of the block. Yield its descriptor.

    A reader sees the old bytes or the new ones. If ``synced``, a power cut after the block leaves the new bytes and one
    before it the new or the old ones; otherwise it may leave an empty file, which every reader of a record takes for a
    missing one. If the block raises, the new file is removed. ``private``: other users may not read it. Raises OSError,
    also where a folder is missing, unless it is to ``make_folders``.
    """
    name, folder = beside(path), os.path.dirname(path) or "."
    try:
        descriptor = _create(name, folder if make_folders else "", modes.FILE if private else modes.PUBLIC)
        try:
            yield descriptor
            if synced:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(name, path)
        if synced:
            sync_folder(folder)
    except BaseException:
        disk.remove(name)
        raise


def write_whole(path: str, data: bytes, modified: int | None = None, *, synced: bool = False) -> None:
    """Replace what ``path`` holds by ``data``; its mtime is ``modified``, in nanoseconds, or now. Raises OSError."""
    with replacing(path, synced=synced) as descriptor:
        write_all(descriptor, data)
        if modified is not None:
            os.utime(descriptor, ns=(modified, modified))


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of ``data``; a disk that fills up may first take a part of it. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def link(source: str, target: str) -> None:
    """Make ``target`` a second name of ``source``; a name that is there already stays.

    Where the file system gives no more hard links (EMLINK) or none at all, a symbolic link takes its place: a path that
    can be opened is still the permission to read. Raises OSError.
    """
    modes.make_folders(os.path.dirname(target))
    try:
        os.link(source, target)
    except FileExistsError:
        if not is_file(target):
            # A pipe, or a link out of the store: nobody can open it, and what it stands for would be missing for good.
            os.unlink(target)
            link(source, target)
    except OSError as error:
        if error.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP):
            raise
        with contextlib.suppress(FileExistsError):
            os.symlink(os.path.relpath(source, os.path.dirname(target)), target)


def make_folder(path: str) -> None:
    """Make the folder ``path`` so that its name survives a power cut. Raises OSError."""
    try:
        modes.make_folder(path)
    except FileExistsError:
        return
    except FileNotFoundError:
        modes.make_folders(path)
    sync_folder(os.path.dirname(path))


def sync_whole(path: str) -> None:
    """Wait until the file at ``path`` and its name would survive a power cut. Raises OSError."""
    _sync(path, os.O_RDONLY)
    sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    """Wait until the names in the folder ``path`` would survive a power cut. Raises OSError."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create(path: str, folder: str, mode: int) -> int:
    """Open a new file for writing; make its ``folder`` if one is given and missing."""
    try:
        return modes.create(path, os.O_WRONLY | os.O_EXCL, mode)
    except FileNotFoundError:
        if not folder:
            raise
        modes.make_folders(folder)
        return modes.create(path, os.O_WRONLY | os.O_EXCL, mode)
