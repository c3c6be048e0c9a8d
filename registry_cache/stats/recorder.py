"""Count in a process that serves, write the counts twice a minute, and fold them if nobody else does.

What was counted since the last write is lost when the process is killed: at most ``WRITE_SECONDS`` of it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from registry_cache.errors import StoreError
from registry_cache.runtime import event_queue
from registry_cache.runtime.log import Log
from registry_cache.stats.files import StatisticsFiles
from registry_cache.stats.keeper import Keeper
from registry_cache.stats.nginx_hits import NginxHits
from registry_cache.stats.tally import Tally
from registry_cache.store import disk
from registry_cache.store.atomic_write import write_whole

WRITE_SECONDS = 20.0
# How often the queue is emptied, and how much of it in a turn: half a millisecond.
LOOK_SECONDS, _TURN = 0.5, 200
# Requests one by one that are written at once, before there are more. While written, each takes a kilobyte.
_MOST_ENTRIES = 2_000
# How long the last process that ends waits for another to let go of the lock.
_END_SECONDS = 2.0
# Nobody folds: the folder must not fill up.
_MOST_INCOMING = 10_000

_log = Log(__name__)


class Recorder:
    """What one process counts; the one that folds also follows nginx' log, by ``hits``.

    ``begin`` starts a thread for it; ``end`` writes the rest.
    """

    def __init__(
        self,
        files: StatisticsFiles,
        keeper: Keeper,
        tally: Tally,
        hits: NginxHits | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._files = files
        self._keeper = keeper
        self._tally = tally
        self._hits = hits
        self._sleep = sleep
        self._written_at = time.monotonic()
        self._ended = False
        # Held by whoever looks and folds: the thread, or whoever ends the process meanwhile.
        self._turn = threading.Lock()

    def begin(self) -> None:
        """Count from now on, for as long as the process lives."""
        event_queue.begin()
        threading.Thread(target=self.run, name="statistics", daemon=True).start()

    def run(self) -> None:
        """Look twice a second, until the end."""
        self._written_at = float("-inf")
        while not self._ended:
            with self._turn:
                self.look()
            self._sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Count what has happened, and write it where that is due."""
        self._count()
        while self._keeper.is_holding and self._hits and self._hits.look():
            self.write()
        if time.monotonic() - self._written_at > WRITE_SECONDS or self._tally.entry_count > _MOST_ENTRIES:
            self._written_at = time.monotonic()
            self.write()

    def write(self, timeout: float = 0.0) -> None:
        """Write what was counted, and fold it if nobody else does within ``timeout`` seconds."""
        try:
            self._write_counts()
            with disk.store_errors("write the statistics"):
                is_keeper = self._keeper.hold(timeout)
                if is_keeper and self._hits:
                    self._write_hits(self._hits)
            if is_keeper:
                self._keeper.fold()
                if self._hits and not self._hits.has_begun:
                    self._hits.begin(self._keeper.log_mark)
        except StoreError as error:
            self._note_failure(error)
            if self._hits:
                # What was not written is read once more.
                self._hits.stop()

    def end(self, timeout: float = _END_SECONDS) -> None:
        """Write the rest, in a process that ends. Whoever folds meanwhile is waited for, up to ``timeout`` seconds."""
        if self._ended:
            return
        self._ended = True
        self._count()
        try:
            # Before we wait: the next process that folds finds it, whatever becomes of us.
            self._write_counts()
        except StoreError as error:
            self._note_failure(error)
        # Two that fold at once would each replace the day's file, the last of them by what it knew before the other.
        if self._turn.acquire(timeout=timeout):
            try:
                self.look()
                self.write(timeout)
                with contextlib.suppress(OSError):
                    self._keeper.release()
            finally:
                self._turn.release()

    def _note_failure(self, error: StoreError) -> None:
        _log.warning("could not write the statistics", error=error)
        if self._tally.entry_count > _MOST_ENTRIES:
            # They must not fill the memory while the disk fails.
            self._tally.forget_entries()

    def _count(self) -> None:
        events, turn = event_queue.events, 0
        while events:
            self._tally.add(events.popleft())
            turn += 1
            if turn % _TURN == 0:
                # Other greenlets of this process have clients that wait.
                self._sleep(0)

    def _write_hits(self, hits: NginxHits) -> None:
        taken = hits.take()
        if taken:
            day, counted = taken
            write_whole(self._files.new_incoming(day), counted.encode())
            hits.note_written()

    def _write_counts(self) -> None:
        """Raises StoreError, and then only requests one by one are lost."""
        with disk.store_errors("write the statistics"):
            if len(disk.entries(self._files.incoming)) > _MOST_INCOMING:
                raise OSError(f"more than {_MOST_INCOMING} files in {self._files.incoming}")
            left = list(self._tally.take())
            try:
                while left:
                    day, counted = left[-1]
                    write_whole(self._files.new_incoming(day), counted.encode())
                    left.pop()
            except OSError:
                for day, counted in left:
                    self._tally.put_back(day, counted)
                raise
