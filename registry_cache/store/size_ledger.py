"""The size ledger: about how many bytes are stored, without counting them.

    <root>/ledger      a count, a word, and what came since: signed numbers of 64 bits that add up to the size of what
                       is stored and of what is being downloaded

Each leader appends what its download will add, in one write, so that workers need no lock; a cleanup, which counts,
replaces the file. A crash, or a write into the file that was just replaced, makes it a little wrong until the next
cleanup: it only decides when to clean up.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading

from registry_cache.store import atomic_write, disk
from registry_cache.store.disk import ReadHandle, open_file
from registry_cache.store.layout import Layout

_ENTRY = struct.Struct("<q")
# Follows the count: without it, a file of zeros that a power cut left would read as an empty store.
_COUNTED = b"counted\n"


class SizeLedger:
    """The ledger of one store. Reads only what was appended since the last look."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.ledger
        self._mutex = threading.Lock()
        # The file that was read; while it is open no other file can get its inode number.
        self._file: ReadHandle | None = None
        self._offset = 0
        self._sum = 0

    def add(self, size: int) -> None:
        """Count ``size`` bytes more, or less. If the disk fails, the next cleanup comes earlier or later."""
        with contextlib.suppress(OSError):
            # Not created here: without a count of what was stored before, the sum would mean nothing.
            descriptor = open_file(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(descriptor, _ENTRY.pack(size))
            finally:
                os.close(descriptor)

    def total(self) -> int | None:
        """Return the sum; None where nobody has counted yet, or it cannot be read."""
        try:
            with self._mutex:
                return self._read()
        except OSError:
            return None

    def position(self) -> int:
        """Return the offset after the last entry, for ``replace``."""
        try:
            return os.stat(self._path).st_size
        except OSError:
            return 0

    def replace(self, counted: int, since: int) -> None:
        """Replace all entries up to ``since`` by the ``counted`` bytes; later ones stay.

        What came during the count may be in both: the next cleanup then is too early, not too late. If the disk is full
        even now, the old count stays and leads to the next cleanup.
        """
        with contextlib.suppress(OSError):
            data = disk.read_whole(self._path) or b""
            atomic_write.write_whole(self._path, _ENTRY.pack(counted) + _COUNTED + data[since:])
            # Synced after the rename: what is added to the old file during a sync would be lost.
            atomic_write.sync_whole(self._path)

    def _read(self) -> int | None:
        if self._file is None or not self._file.is_at(self._path) or self._file.size() < self._offset:
            self._file, self._offset, self._sum = ReadHandle.open(self._path), 0, 0
        if self._file is None:
            return None
        if not self._offset:
            head = self._file.read_at(0, _ENTRY.size + len(_COUNTED))
            if head[_ENTRY.size :] != _COUNTED:
                return None
            [self._sum] = _ENTRY.unpack_from(head)
            self._offset = len(head)
        size = (self._file.size() - self._offset) // _ENTRY.size * _ENTRY.size
        for (entry,) in _ENTRY.iter_unpack(self._file.read_at(self._offset, size)):
            self._sum += entry
        self._offset += size
        return self._sum
