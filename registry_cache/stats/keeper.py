"""Fold what all processes have counted into the days' files: one process at a time, which holds a lock for it.

A crash at any point loses nothing that was written and counts nothing twice: files of counts are removed after the day
that names them is in place, and the journal is cut to the end that the day knows.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable
from typing import cast

from registry_cache.runtime import threadpool
from registry_cache.runtime.log import Log
from registry_cache.stats.calendar import DAY_SECONDS, bucket_of, day_named, day_of
from registry_cache.stats.clients import Clients
from registry_cache.stats.day import Day
from registry_cache.stats.files import StatisticsFiles
from registry_cache.stats.fold import DayFold, without_clients
from registry_cache.stats.journal_file import JournalBounds, JournalFile
from registry_cache.stats.sums import DiskUse, Sums
from registry_cache.stats.tally import DayTally, LogMark
from registry_cache.store import disk, locks
from registry_cache.store.atomic_write import write_whole
from registry_cache.store.locks import LockFile

# Five-minute sums stay for a month, day sums for two years.
RING_DAYS, ALL_DAYS = 30, 731
# How often old days are looked at.
_TIDY_SECONDS = 3600.0

# A process writes its counts often enough for far less.
_MOST_COUNTS = 1 << 26

_log = Log(__name__)

_Counts = dict[int, list[tuple[str, DayTally]]]


class Keeper:
    """The one that folds. ``disk_use`` tells how full the store is, None where it cannot.

    Without ``clients`` it forgets all that was remembered of them.
    """

    def __init__(
        self,
        files: StatisticsFiles,
        journal: JournalBounds,
        disk_use: Callable[[], DiskUse | None] = lambda: None,
        now: Callable[[], float] = time.time,
        *,
        clients: bool,
    ) -> None:
        self._files = files
        self._knows_clients = clients
        self._has_forgotten = False
        self._journal = JournalFile(files, journal)
        self._disk_use = disk_use
        self._now = now
        self._lock: LockFile | None = None
        self._clients: Clients | None = None
        self._folds: dict[int, DayFold] = {}
        self._tidied_at = float("-inf")

    def hold(self, timeout: float = 0.0) -> bool:
        """Be the one that folds, if nobody else is within ``timeout`` seconds; tell whether we are. Raises OSError."""
        if self._lock is None:
            self._lock = locks.wait_for(lambda: locks.try_lock(self._files.lock), timeout)
        return self._lock is not None

    @property
    def is_holding(self) -> bool:
        return self._lock is not None

    def release(self) -> None:
        """Let another process fold. Raises OSError."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self._clients, self._folds = None, {}

    def fold(self) -> None:
        """Fold all that was written until now; call it while we hold. Raises StoreError, and then nothing is lost."""
        with disk.store_errors("write the statistics"):
            counts = self._read_counts()
            if counts and self._knows_clients:
                self._fold_clients(counts)
            for day, tallies in sorted(counts.items()):
                self._fold_day(day, tallies)
            if self._now() - self._tidied_at > _TIDY_SECONDS:
                self._tidied_at = self._now()
                self._tidy()

    def log_mark(self) -> LogMark | None:
        """Return how far nginx' log was read, by what is folded; None where it never was. Raises StoreError."""
        marks: list[LogMark] = []
        with disk.store_errors("read the statistics"):
            for day in self._files.known_days():
                mark = self._read_day(day).open.get("log")
                if isinstance(mark, list) and len(mark) == 4:
                    marks.append(cast("LogMark", tuple(mark)))
        return max(marks, key=lambda mark: mark[3], default=None)

    def _read_day(self, day: int) -> Day:
        # A full one takes milliseconds, which clients of this process must not wait for.
        return threadpool.run(Day.read, self._files.day(day))

    def _read_counts(self) -> _Counts:
        counts: _Counts = defaultdict(list)
        for entry in sorted(disk.entries(self._files.incoming), key=lambda entry: entry.name):
            day = day_named(entry.name)
            data = disk.read_whole(entry.path, limit=_MOST_COUNTS) if day is not None else None
            if day is None or data is None:
                continue
            try:
                tally = DayTally.decode(data)
                if not self._knows_clients:
                    # A process that was killed may have known them.
                    tally.forget_clients()
                counts[day].append((entry.name, tally))
            except ValueError as error:
                # A power cut; synced it is not, for that would cost each worker a wait.
                _log.warning("lost some statistics", file=entry.name, error=error)
                disk.remove(entry.path)
        return counts

    def _fold_day(self, day: int, tallies: list[tuple[str, DayTally]]) -> None:
        if day > day_of(self._now()) - RING_DAYS:
            self._write_day(day, tallies)
        # Of an older day the five minutes are gone.
        for name, _ in tallies:
            disk.remove(f"{self._files.incoming}/{name}")

    def _write_day(self, day: int, tallies: list[tuple[str, DayTally]]) -> None:
        fold = self._folds.get(day) or DayFold(self._read_day(day))
        # A failure below must not leave half of it in memory.
        self._folds.pop(day, None)
        fold.folded &= {name for name, _ in tallies}
        new = [(name, tally) for name, tally in tallies if name not in fold.folded]
        for name, tally in new:
            fold.add(name, tally)
        self._note_state(day, fold)
        lines = b"".join(tally.journal for _, tally in new)
        fold.journal = self._journal.append(day, fold.journal, lines, self._now())
        data = fold.day(self._now()).encode()
        threadpool.run(write_whole, self._files.day(day), data, synced=True)
        if day == day_of(self._now()):
            self._folds[day] = fold

    def _note_state(self, day: int, fold: DayFold) -> None:
        now = self._now()
        if day == day_of(now):
            fold.note(bucket_of(now), Sums(disk=self._disk_use()))
            fold.note_day(self._known_clients().count(day * DAY_SECONDS))

    def _fold_clients(self, counts: _Counts) -> None:
        # Seen twice is seen: this may be repeated.
        clients = self._known_clients()
        clients.turn_back(day_of(self._now()))
        for tallies in counts.values():
            for _, tally in tallies:
                for client, moment in tally.clients.items():
                    clients.see(client, moment)
        clients.forget()
        write_whole(self._files.clients, json.dumps(clients.document(), separators=(",", ":")).encode())

    def _known_clients(self) -> Clients:
        if self._clients is None:
            self._clients = self._files.read_clients()
        return self._clients

    def _tidy(self) -> None:
        """Shorten the days that are over, and remove those and the pieces of the journal that are too old."""
        today = day_of(self._now())
        if not self._knows_clients and not self._has_forgotten:
            self._forget_clients()
            self._has_forgotten = True
        for day in self._files.known_days():
            path = self._files.day(day)
            if day <= today - ALL_DAYS:
                disk.remove(path)
                continue
            found = self._read_day(day) if day < today else Day()
            if day <= today - RING_DAYS and found.buckets:
                write_whole(path, Day(sums=found.sums).encode())
            elif "present" in found.open and self._now() > (day + 1) * DAY_SECONDS + _TIDY_SECONDS:
                write_whole(path, DayFold(found).day(self._now(), finished=True).encode())
        self._journal.expire(self._now())

    def _forget_clients(self) -> None:
        disk.remove(self._files.clients)
        self._clients, self._folds = None, {}
        for number in self._files.known_days():
            day = self._read_day(number)
            if "clients" in day.tops or "present" in day.open:
                write_whole(self._files.day(number), without_clients(day).encode())
