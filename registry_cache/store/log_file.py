"""Follow a log that another program writes and somebody rotates: every whole line once, whoever restarts.

A rotation gives the file another name and makes a new one. The program may still have lines for the old one, so that is
read to its end, and for some seconds more. Outside of the store: an operator names the file.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from registry_cache.store import disk
from registry_cache.store.disk import ReadHandle

# nginx writes what it has collected within a second, also to a file that was renamed, until it is told of the new one.
OLD_FILE_SECONDS = 5.0
# A file is known by its inode and its first bytes: the kernel gives an inode's number to another file.
_HEAD = 128
_COMPRESSED = (".gz", ".xz", ".bz2", ".zst")


class LogPosition(NamedTuple):
    """Which file was read, and how far: its inode, what its first bytes hash to, and an offset."""

    inode: int
    head: str
    offset: int


class LogFile:
    """The log at ``path``, read from ``position`` on, or from its beginning where that is None.

    ``has_lost``: the file that was being read is gone, and perhaps lines with it.
    """

    def __init__(
        self, path: str, position: LogPosition | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises OSError where the file is there and may not be read."""
        self._path = path
        self._clock = clock
        self._offset = 0
        self._head = ""
        self._renamed_at: float | None = None
        self.has_lost = False
        self._file: ReadHandle | None = None
        if position is not None:
            self._file = self._find(position)
            self.has_lost = self._file is None
            self._offset = position.offset if self._file else 0
        if self._file is None:
            self._file = _open(path)

    @property
    def position(self) -> LogPosition | None:
        """How far was read; None where there is no file yet."""
        if self._file is None:
            return None
        if len(self._head) == 0:
            self._head = _head_of(self._file)
        return LogPosition(os.fstat(self._file.fileno()).st_ino, self._head, self._offset)

    def read(self, limit: int) -> bytes:
        """Return the next whole lines, of ``limit`` bytes at most; b"" where there are none now. Raises OSError."""
        if self._file is None:
            self._file = _open(self._path)
        if self._file is None:
            return b""
        if self._file.size() < self._offset:
            # It was truncated and not renamed.
            self._offset, self._head = 0, ""
        lines = self._lines(self._file, limit)
        if not lines:
            self._turn()
        return lines

    def step_back(self, size: int) -> None:
        """Read the last ``size`` bytes once more."""
        self._offset -= size

    def _lines(self, file: ReadHandle, limit: int) -> bytes:
        data = file.read_at(self._offset, limit)
        while len(data) == limit and b"\n" not in data:
            # A line that is longer than the limit is not ours; nor is its end.
            self._offset += limit
            data = file.read_at(self._offset, limit)
        end = data.rfind(b"\n") + 1
        self._offset += end
        return data[:end]

    def _turn(self) -> None:
        """Go on with the next file, if this one has another name and is at its end."""
        file, current = self._file, _open(self._path)
        if file is None or current is None or current.is_same_file(file):
            self._renamed_at = None
            return
        if self._renamed_at is None:
            self._renamed_at = self._clock()
        elif self._clock() - self._renamed_at > OLD_FILE_SECONDS:
            self._renamed_at = None
            self._file, self._offset, self._head = self._next(file), 0, ""

    def _find(self, position: LogPosition) -> ReadHandle | None:
        for _, file in self._files():
            found = os.fstat(file.fileno())
            is_it = found.st_ino == position.inode and found.st_size >= position.offset
            # A file that was empty then has no first bytes to be known by.
            if is_it and position.head in ("", _head_of(file)):
                return file
        return None

    def _next(self, file: ReadHandle) -> ReadHandle | None:
        """Return the oldest file that was written after this one: there may have been two rotations meanwhile."""
        written = os.fstat(file.fileno()).st_mtime_ns
        later = []
        for path, other in self._files():
            if not other.is_same_file(file) and os.fstat(other.fileno()).st_mtime_ns >= written:
                later.append((path == self._path, os.fstat(other.fileno()).st_mtime_ns, path, other))
        return min(later)[3] if later else None

    def _files(self) -> Iterator[tuple[str, ReadHandle]]:
        """Yield the log and those that were rotated away, each with its path, as far as they are there."""
        for path in (self._path, *self._rotated_files()):
            try:
                file = _open(path)
            except PermissionError:
                # An old one that may not be read is none that we read before, and must not keep us from the next.
                if path == self._path:
                    raise
                continue
            if file:
                yield path, file

    def _rotated_files(self) -> list[str]:
        folder, name = os.path.split(self._path)
        found = [entry.path for entry in disk.entries(folder) if entry.name.startswith((f"{name}.", f"{name}-"))]
        return [path for path in found if not path.endswith(_COMPRESSED)]


def _open(path: str) -> ReadHandle | None:
    try:
        return ReadHandle(disk.open_source(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _head_of(file: ReadHandle) -> str:
    """Return what the first line, as far as it counts, hashes to; "" where there is none yet."""
    head, newline, _ = file.read_at(0, _HEAD).partition(b"\n")
    return hashlib.sha256(head).hexdigest()[:16] if newline or len(head) == _HEAD else ""
