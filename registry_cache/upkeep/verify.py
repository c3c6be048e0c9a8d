"""Verify: one bounded pass that looks at what is stored, and repairs it if that is wanted.

Everything is looked at in the order of the disk and told as it is found; nothing is kept of what is right, so memory
does not grow with the store. A pass that is cut short begins elsewhere the next time.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from registry_cache.oci.digest import Digest
from registry_cache.policy.share import Share
from registry_cache.store import disk, locks
from registry_cache.store.audit.fault import Fault, Kind
from registry_cache.store.audit.repair import DONE, Repairs
from registry_cache.store.audit.walk import AuditCounts, AuditWalk
from registry_cache.store.last_use import UseSpreader
from registry_cache.store.layout import Layout
from registry_cache.upkeep.rate_limit import Pace

# A report names this many faults; a disk that dies has more, and memory must not follow it.
MOST_NAMED = 1000

# Blobs are in 256 folders. A step between two rounds that leaves none of them out, and neighbours far apart.
_FOLDERS, _STRIDE = 256, 97

# Told what is done, how far it is, and how far it goes: bytes, None where that is not known.
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True)
class Task:
    """What a pass is to do at ``now``, in seconds since the epoch; ``rate`` in bytes a second, None for no bound.

    ``day``: any count of days; it chooses the part of ``share``, and where the pass begins.
    """

    now: float
    day: int
    share: Share = field(default_factory=Share)
    rate: int | None = None
    repair: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault; ``path`` from the root. ``remark``: where it was not repaired, why."""

    kind: Kind
    path: str
    digest: Digest | None
    detail: str
    repaired: bool = False
    remark: str = ""


@dataclass(slots=True)
class Result:
    """What a pass saw and did. ``found`` counts faults by kind; ``findings`` are the first of them.

    ``complete``: not cut short.
    """

    seen: AuditCounts = field(default_factory=AuditCounts)
    found: Counter[Kind] = field(default_factory=Counter)
    repaired: int = 0
    findings: list[Finding] = field(default_factory=list)
    complete: bool = True

    @property
    def left(self) -> int:
        """How many faults are still there."""
        return self.found.total() - self.repaired


class _OutOfTime(Exception):
    """The pass has had its time."""


class Verify:
    """One pass over one store. ``in_time`` is asked at each step whether there is time left."""

    def __init__(
        self,
        layout: Layout,
        task: Task,
        in_time: Callable[[], bool] = lambda: True,
        progress: Progress | None = None,
    ) -> None:
        self._layout = layout
        self._task = task
        self._in_time = in_time
        self._progress = progress
        self._doing, self._steps = "", 0
        self._total: int | None = None
        self._part = task.share.on(task.day)
        self._repairs = Repairs(layout, task.now) if task.repair else None
        self.result = Result()

    def run(self) -> Result | None:
        """Look at everything; None where another pass repairs already. Raises StoreError."""
        with disk.store_errors("look through the store"):
            if not self._repairs:
                return self._run()
            with locks.hold_if_free(self._layout.verify_lock) as held:
                return self._run() if held else None

    def _run(self) -> Result:
        start = self._task.day // self._task.share.nights * _STRIDE % _FOLDERS
        pace = Pace(self._task.rate, self._tick)
        walk = AuditWalk(self._layout, self._found, self._part.covers, self._tick, pace.take, start)
        self.result.seen = walk.seen
        try:
            if self._progress:
                self._total = self._weigh()
            self._doing, self._steps = "looking", 0
            walk.run()
        except _OutOfTime:
            self.result.complete = False
        return self.result

    def _weigh(self) -> int:
        """Return how many bytes of blobs there are to read: a stat each, for the bar alone."""
        self._doing = "looking at blobs"
        blobs = UseSpreader(self._layout, dry_run=True).blobs(self._tick)
        return sum(blob.size for blob in blobs if self._part.covers(blob.digest.hex))

    def _found(self, fault: Fault) -> None:
        remark = self._repairs.repair(fault) if self._repairs else ""
        repaired = self._repairs is not None and remark == DONE
        self.result.found[fault.kind] += 1
        self.result.repaired += repaired
        if len(self.result.findings) < MOST_NAMED:
            path = os.path.relpath(fault.path, self._layout.root)
            self.result.findings.append(Finding(fault.kind, path, fault.digest, fault.detail, repaired, remark))

    def _tick(self) -> None:
        self._steps += 1
        if self._progress:
            read = self.result.seen.bytes
            if self._total is not None and read:
                self._progress("re-hashing", read, max(read, self._total))
            else:
                self._progress(self._doing, self._steps, None)
        if not self._in_time():
            raise _OutOfTime
