"""How many readers each download has, for whoever looks from another process, such as a page or a command.

A process that has downloads holds a lock of its own, and keeps in it a JSON object with how many readers it has by
digest. A note that nobody holds is a dead process's; a cleanup removes it.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping

from registry_cache.store import disk, locks
from registry_cache.store.layout import Layout
from registry_cache.store.locks import LockFile

# A longer one is not ours: a process has some thousand readers at most.
_MOST_BYTES = 1 << 20


class ReaderNote:
    """What one process says of its readers; methods raise OSError."""

    def __init__(self, layout: Layout) -> None:
        self._path = f"{layout.reader_notes}/{secrets.token_hex(8)}.lock"
        self._lock: LockFile | None = None
        self._written = b""

    def write(self, readers: Mapping[str, int]) -> None:
        """Say how many ``readers`` there are, by digest, in place of what was said before."""
        note = json.dumps(readers, separators=(",", ":")).encode()
        if self._lock is None or not self._lock.has_name():
            self.remove()
            self._lock = locks.try_lock(self._path)
        if self._lock is not None and note != self._written:
            self._lock.write(note)
            self._written = note

    def remove(self) -> None:
        """Remove the note."""
        lock, self._lock, self._written = self._lock, None, b""
        if lock is not None:
            lock.release()


def readers_by_digest(layout: Layout) -> Mapping[str, int]:
    """Return how many readers all processes together have, by digest; up to a second old. Raises OSError."""
    found: Counter[str] = Counter()
    for entry in disk.entries(layout.reader_notes):
        # Read before we look who holds it: a note that is gone meanwhile belongs to nobody.
        data = disk.read_whole(entry.path, limit=_MOST_BYTES)
        if data and locks.is_locked(entry.path):
            found.update(dict(_counts(data)))
    return found


def _counts(data: bytes) -> Iterator[tuple[str, int]]:
    """Yield what a note says; nothing of one that is being written."""
    try:
        note = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(note, dict):
        yield from ((digest, count) for digest, count in note.items() if isinstance(count, int))
