"""Verify a store in one bounded pass, and repair what is damaged if asked to.

Files are read in the order of the disk, and faults reported as they are found. Nothing is remembered about what is
right, so memory does not grow with the store. A pass that ran out of time begins at another folder the next day.
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
from registry_cache.upkeep.read_throttle import RateLimit
from registry_cache.upkeep.report import MOST_NAMED
from registry_cache.upkeep.steps import OutOfTime, PassProgress, Steps

# Blobs are in 256 folders. With this step from one round's first folder to the next's, every folder has its turn, and
# neighbours are far apart.
_FOLDERS, _STRIDE = 256, 97


@dataclass(frozen=True, slots=True)
class VerifyTask:
    """What a verify has to do at ``now``, in seconds since the epoch; ``rate`` in bytes a second, None for no bound.

    ``day``: any count of days; it chooses the part of ``share``, and the first folder.
    """

    now: float
    day: int
    share: Share = field(default_factory=Share)
    rate: int | None = None
    repair: bool = False


@dataclass(frozen=True, slots=True)
class FoundFault:
    """A fault; ``path`` is relative to the root. ``remark``: why it was not repaired."""

    kind: Kind
    path: str
    digest: Digest | None
    detail: str
    repaired: bool = False
    remark: str = ""


@dataclass(slots=True)
class VerifyResult:
    """What a verify saw and did. ``counts`` of faults by kind; ``faults`` are the first of them.

    ``complete``: there was time for everything.
    """

    seen: AuditCounts = field(default_factory=AuditCounts)
    counts: Counter[Kind] = field(default_factory=Counter)
    repaired: int = 0
    faults: list[FoundFault] = field(default_factory=list)
    complete: bool = True

    @property
    def left(self) -> int:
        """How many faults are still there."""
        return self.counts.total() - self.repaired


class Verify:
    """One verify of one store; for ``in_time`` and ``progress`` see ``Steps``."""

    def __init__(
        self,
        layout: Layout,
        task: VerifyTask,
        in_time: Callable[[], bool] = lambda: True,
        progress: PassProgress | None = None,
    ) -> None:
        self._layout = layout
        self._task = task
        self._steps = Steps(in_time, progress)
        # Of the bytes to read; only progress needs it.
        self._total: int | None = None
        self._wants_total = progress is not None
        self._part = task.share.on(task.day)
        self._repairs = Repairs(layout, task.now) if task.repair else None
        self.result = VerifyResult()

    def run(self) -> VerifyResult | None:
        """Look at everything; None where another verify is repairing. Raises StoreError."""
        with disk.store_errors("look through the store"):
            if not self._repairs:
                return self._run()
            with locks.hold_if_free(self._layout.verify_lock) as held:
                return self._run() if held else None

    def _run(self) -> VerifyResult:
        start = self._task.day // self._task.share.nights * _STRIDE % _FOLDERS
        rate_limit = RateLimit(self._task.rate, self._tick)
        walk = AuditWalk(self._layout, self._add_fault, self._part.covers, self._tick, rate_limit.take, start)
        self.result.seen = walk.seen
        try:
            if self._wants_total:
                self._total = self._count_bytes()
            self._steps.begin("looking")
            walk.run()
        except OutOfTime:
            self.result.complete = False
        return self.result

    def _count_bytes(self) -> int:
        """Return how many bytes of blobs there are to read; costs a stat for each blob."""
        self._steps.begin("looking at blobs")
        blobs = UseSpreader(self._layout, dry_run=True).blobs(self._tick)
        return sum(blob.size for blob in blobs if self._part.covers(blob.digest.hex))

    def _add_fault(self, fault: Fault) -> None:
        remark = self._repairs.repair(fault) if self._repairs else ""
        repaired = self._repairs is not None and remark == DONE
        self.result.counts[fault.kind] += 1
        self.result.repaired += repaired
        if len(self.result.faults) < MOST_NAMED:
            path = os.path.relpath(fault.path, self._layout.root)
            self.result.faults.append(FoundFault(fault.kind, path, fault.digest, fault.detail, repaired, remark))

    def _tick(self) -> None:
        read = self.result.seen.bytes
        if self._total is not None and read:
            self._steps.report("re-hashing", read, max(read, self._total))
        else:
            self._steps.tick()
