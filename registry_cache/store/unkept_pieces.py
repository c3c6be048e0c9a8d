"""Pieces that the disk does not take: in memory, for those who read the same blob at about the same time.

They lie in files of pieces as on the disk, with the same map, sums and claims, but in memory that has no name
(``memfd_create``): so whoever fetches and reads pieces need not know. They are of one process, and go soon.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from weakref import WeakValueDictionary

from registry_cache.errors import StoreError
from registry_cache.runtime.log import Log
from registry_cache.store import disk
from registry_cache.store.piece_file import PieceFile, data_offset, header, piece_count

# Of one process, about: what all windows of uncached blobs may have as well.
MAX_SIZE = 64 * 1024 * 1024
# So long after their last use they are there for who comes next, and so long the disk is asked to keep nothing more of
# the blob. If this were longer, a blob that is always being read would never be kept again.
LAST_SECONDS = 10.0
# Where there is no room for others, it is enough that nobody has used them for so long.
_SHORT_SECONDS = 1.0

_log = Log(__name__)


class UnkeptPieces:
    """All that this process has of them."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._all: WeakValueDictionary[str, MemoryPieceFile] = WeakValueDictionary()
        # Those that nobody need be reading.
        self._recent: dict[str, MemoryPieceFile] = {}

    def find(self, path: str) -> MemoryPieceFile | None:
        """Return those that belong at ``path``, if there are any."""
        return self._all.get(path)

    def make(self, path: str, size: int, refusal: StoreError) -> MemoryPieceFile:
        """Return those of a blob of ``size`` bytes, made where there were none; ``refusal``: what the disk says.

        Raises OSError.
        """
        with self._mutex:
            found = self._all.get(path)
            if found is None or found.size != size:
                found = self._all[path] = MemoryPieceFile(path, size, self)
                _log.info("holding ranges in memory, for who reads them now", path=path, error=refusal)
            starts = not self._recent
            self._recent[path] = found
        found.note_refusal(lacks_room=disk.is_full(refusal))
        if starts:
            threading.Thread(target=self._run, name="unkept pieces", daemon=True).start()
        return found

    def forget(self, path: str) -> None:
        """Give those whose path ends so to nobody any more: they may be wrong, or the blob is whole."""
        with self._mutex:
            for found in [each for name, each in self._all.items() if name.endswith(path)]:
                found.is_gone = True
                self._all.pop(found.path, None)
                self._recent.pop(found.path, None)

    def take_room(self, size: int) -> None:
        """Make room for so many bytes. Raises OSError where there is none."""
        if self._bytes() + size > MAX_SIZE:
            self._drop(_SHORT_SECONDS)
        if self._bytes() + size > MAX_SIZE:
            raise OSError(errno.ENOSPC, "as many ranges are held in memory as may be")

    def _bytes(self) -> int:
        return sum(each.bytes_here() for each in list(self._all.values()))

    def _drop(self, seconds: float) -> None:
        """Drop what was not used for so long, and is being read by nobody."""
        until = time.monotonic() - seconds
        with self._mutex:
            self._recent = {path: each for path, each in self._recent.items() if each.used_at > until}

    def _run(self) -> None:
        while self._recent:
            time.sleep(LAST_SECONDS / 2)
            self._drop(LAST_SECONDS)


class MemoryPieceFile(PieceFile):
    """Pieces in memory, where the disk did not take them. Goes with its last reader."""

    is_refused = True

    def __init__(self, path: str, size: int, unkept: UnkeptPieces) -> None:
        made = time.time()
        descriptor = os.memfd_create("pieces")
        super().__init__(path, descriptor, size, "", made)
        os.ftruncate(descriptor, data_offset(piece_count(size)) + size)
        os.pwrite(descriptor, header(size, "", made), 0)
        self.is_gone = False
        self.used_at = self._refused_at = time.monotonic()
        self._unkept = unkept

    def has_name(self) -> bool:
        return not self.is_gone

    def note_use(self) -> None:
        self.used_at = time.monotonic()

    def note_refusal(self, *, lacks_room: bool) -> None:
        """Note that the disk takes no pieces of this blob now."""
        self.lacks_room = lacks_room
        self.used_at = self._refused_at = time.monotonic()

    def is_fresh(self) -> bool:
        """Tell whether the disk has said so a moment ago, and need not be asked again."""
        return time.monotonic() - self._refused_at < LAST_SECONDS

    def write(self, start: int, data: bytes) -> int:
        self._unkept.take_room(len(data))
        self.note_use()
        return super().write(start, data)

    def _open_again(self) -> int:
        return os.open(f"/proc/self/fd/{self.fileno()}", os.O_RDWR)


class ForgivingPieceFile(PieceFile):
    """The pieces of a blob on the disk, and in memory those that it did not take."""

    def __init__(self, unkept: UnkeptPieces, path: str, descriptor: int, size: int, owner: str, made: float) -> None:
        super().__init__(path, descriptor, size, owner, made)
        self._unkept = unkept
        self._memory: MemoryPieceFile | None = None
        self._find()

    def note_use(self) -> None:
        super().note_use()
        if memory := self._find():
            memory.note_use()

    def read(self, start: int, stop: int) -> bytes:
        memory = self._find()
        return super().read(start, stop) or (memory.read(start, stop) if memory else b"")

    def here_until(self, start: int, stop: int) -> int:
        at = super().here_until(start, stop)
        memory = self._find()
        while memory and at < stop and (more := memory.here_until(at, stop)) > at:
            at = super().here_until(more, stop)
        return at

    def gap_until(self, start: int, stop: int) -> int:
        end = super().gap_until(start, stop)
        memory = self._find()
        return memory.gap_until(start, end) if memory else end

    def bytes_here(self) -> int:
        memory = self._find()
        return min(self.size, super().bytes_here() + (memory.bytes_here() if memory else 0))

    def write(self, start: int, data: bytes) -> int:
        memory = self._find()
        if memory is None or not memory.is_fresh():
            try:
                with disk.store_errors(f"keep pieces in {self.path}"):
                    kept = super().write(start, data)
                self.is_refused = self.lacks_room = False
                return kept
            except StoreError as refusal:
                memory = self._memory = self._unkept.make(self.path, self.size, refusal)
        self.is_refused, self.lacks_room = True, memory.lacks_room
        return memory.write(start, data)

    def set_owner(self, owner: str) -> None:
        try:
            super().set_owner(owner)
        except OSError as error:
            # Others of this repository prove once more that they may have it.
            _log.debug("could not name the owner of pieces", path=self.path, error=error)

    def _find(self) -> MemoryPieceFile | None:
        if self._memory is None:
            found = self._unkept.find(self.path)
            self._memory = found if found and found.size == self.size else None
        return self._memory
