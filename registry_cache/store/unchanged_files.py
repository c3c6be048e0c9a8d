"""Remember what was read from files until they change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from registry_cache.store import disk

_T = TypeVar("_T")


class UnchangedFiles(Generic[_T]):
    """What ``read`` returns of a path; it is called again where the file is another, or was written since."""

    def __init__(self, read: Callable[[str], _T]) -> None:
        self._read = read
        self._known: dict[str, tuple[tuple[int, int, int], _T]] = {}

    def get(self, path: str) -> _T:
        """Return what is in the file. Raises what ``read`` raises, and OSError."""
        stamp = _stamp(path)
        known = self._known.get(path)
        if known is None or known[0] != stamp:
            # The stamp first: what is written while we read is read again.
            known = self._known[path] = (stamp, self._read(path))
        return known[1]


def _stamp(path: str) -> tuple[int, int, int]:
    found = disk.stat(path)
    return (found.st_ino, found.st_mtime_ns, found.st_size) if found else (0, 0, 0)
