"""Tell other processes, once a second while downloads run, how many readers each has here.

Readers that come and go cost nothing more than their count in memory: one thread writes down what it finds then.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

# Downloads that are over by then are not worth a file.
NOTE_SECONDS = 1.0


class Note(Protocol):
    """What one process says of its readers. Both methods raise OSError."""

    def write(self, readers: Mapping[str, int]) -> None:
        """Say how many ``readers`` there are, by digest, in place of what was said before."""

    def remove(self) -> None:
        """Say nothing any more."""


class ReaderCounts:
    """Writes into ``note`` what ``count`` returns, from ``begin`` until there is nothing to count."""

    def __init__(
        self, note: Note, count: Callable[[], Mapping[str, int]], sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._note = note
        self._count = count
        self._sleep = sleep
        self._mutex = threading.Lock()
        self._is_running = False

    def begin(self) -> None:
        """A download has begun."""
        with self._mutex:
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="readers", daemon=True).start()

    def _run(self) -> None:
        self._sleep(NOTE_SECONDS)
        while readers := self._next():
            # A disk with other troubles than this.
            with contextlib.suppress(OSError):
                self._note.write(readers)
            self._sleep(NOTE_SECONDS)
        # Another thread may run already, but it writes nothing before its first second is over.
        with contextlib.suppress(OSError):
            self._note.remove()

    def _next(self) -> Mapping[str, int]:
        """Return the counts, or nothing and then ``begin`` starts another thread."""
        with self._mutex:
            readers = self._count()
            self._is_running = bool(readers)
            return readers
