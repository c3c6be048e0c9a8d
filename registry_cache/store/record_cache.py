"""Keep recently read manifests and tags in memory: one or two stats instead of ten calls to read and parse.

Nothing here is authoritative. What another process does to a file changes its inode, its size or one of its times, and
then it is read again; damage that the disk does unnoticed cannot reach bytes that were compared to their digest before.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TypeVar

from cachetools import LRUCache

from registry_cache.store import disk

# Bytes in one worker, for some thousands of records; a manifest that would push hundreds out is read each time.
MAX_BYTES = 16 * 1024 * 1024
MAX_RECORD_BYTES = 128 * 1024
# What an entry takes besides its manifest.
_OVERHEAD = 1024

Stamp = tuple[int, int, int, int]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Entry:
    files: tuple[tuple[str, Stamp], ...]
    value: object
    size: int


class RecordCache:
    """Values by key, each valid as long as the files that it was read from are unchanged."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._entries: LRUCache[object, _Entry] = LRUCache(MAX_BYTES, getsizeof=lambda entry: entry.size + _OVERHEAD)

    def get(self, key: object, kind: type[_T]) -> tuple[_T, os.stat_result] | None:
        """Return the value and what stat(2) says of its last file; None where it must be read. Raises OSError."""
        with self._mutex:
            entry = self._entries.get(key)
        if entry is None or not isinstance(entry.value, kind):
            return None
        found = None
        for path, stamp in entry.files:
            found = disk.stat(path)
            if found is None or stamp_of(found) != stamp:
                return None
        return (entry.value, found) if found else None

    def put(self, key: object, value: object, size: int, *files: tuple[str, Stamp]) -> None:
        """Keep ``value`` of ``size`` bytes; the stamps of ``files`` must be from before they were read."""
        if size <= MAX_RECORD_BYTES:
            with self._mutex:
                self._entries[key] = _Entry(files, value, size)


def stamp_of(found: os.stat_result) -> Stamp:
    """Return what changes whenever somebody writes into the file or puts another in its place."""
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
