"""How many clients one process streams to, and how much of its memory each may hold meanwhile."""

from __future__ import annotations

import threading

from registry_cache.errors import Busy
from registry_cache.runtime import metrics

# What the readers of one process hold in chunks at most, together; a chunk is what one send takes.
READ_BUDGET = 16 * 1024 * 1024
SMALLEST_CHUNK, LARGEST_CHUNK = 16 * 1024, 256 * 1024


class ReaderSlots:
    """Places for readers of what is not on the disk yet, or never will be: ``most`` at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._mutex = threading.Lock()
        self.taken = 0

    def take(self) -> None:
        """Become a reader; call ``give_back``. Raises Busy."""
        with self._mutex:
            if self.taken >= self._most:
                raise Busy(
                    f"this worker streams to {self.taken} readers already; try again, or raise server.readers",
                    retry_after=1,
                )
            self.taken += 1
            metrics.change_readers(1)

    def give_back(self) -> None:
        with self._mutex:
            self.taken -= 1
            metrics.change_readers(-1)

    def chunk_size(self) -> int:
        """Return how many bytes a reader may hold now: the fewer, the more readers there are."""
        return max(SMALLEST_CHUNK, min(LARGEST_CHUNK, READ_BUDGET // max(1, self.taken)))
