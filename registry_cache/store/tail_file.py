"""Append to a file at an end that is known elsewhere; what a crash left after that end is cut off first."""

from __future__ import annotations

import os

from registry_cache.store import modes
from registry_cache.store.atomic_write import write_all


def append_at(path: str, offset: int, data: bytes) -> int:
    """Let ``data`` follow the first ``offset`` bytes of ``path``; return the new end.

    Where the file is shorter, it follows what there is. Folders and file are made. Raises OSError.
    """
    modes.make_folders(os.path.dirname(path))
    descriptor = modes.create(path, os.O_WRONLY)
    try:
        end = min(offset, os.fstat(descriptor).st_size)
        os.ftruncate(descriptor, end)
        os.lseek(descriptor, end, os.SEEK_SET)
        write_all(descriptor, data)
        return end + len(data)
    finally:
        os.close(descriptor)
