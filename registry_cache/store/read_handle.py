"""Open files that are read at places of the reader's choosing."""

from __future__ import annotations

import os


class ReadHandle:
    """A file open for reading, shared by any number of readers; closed when the last of them lets go of it.

    Readers hold this, never a path: when the name is unlinked under them they still finish (byte-safety rule 5).
    """

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: str) -> ReadHandle | None:
        """Open ``path``; None where there is nothing of that name. Raises OSError for anything else."""
        try:
            return cls(os.open(path, os.O_RDONLY))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def fileno(self) -> int:
        return self._descriptor

    def size(self) -> int:
        """Return how many bytes there are now."""
        return os.fstat(self._descriptor).st_size

    def named(self) -> bool:
        """Tell whether the file has a name left."""
        return os.fstat(self._descriptor).st_nlink > 0

    def same(self, other: ReadHandle) -> bool:
        """Tell whether ``other`` is the same file, whatever its name."""
        return os.path.samestat(os.fstat(self._descriptor), os.fstat(other._descriptor))

    def is_at(self, path: str) -> bool:
        """Tell whether ``path`` itself names the file now. Raises OSError."""
        try:
            return os.path.samestat(os.lstat(path), os.fstat(self._descriptor))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``offset``; b"" at the end. Raises OSError."""
        return os.pread(self._descriptor, length, offset)

    def __del__(self) -> None:
        os.close(self._descriptor)
