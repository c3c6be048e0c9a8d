"""Cleanup: one bounded pass that plans what to evict and evicts it.

Use is spread from manifests to children, every blob is looked at once to find the mark, and what was last used before
the mark goes: names first, then bytes. A dry run ends with the plan.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

from registry_cache.oci.digest import Digest
from registry_cache.policy import eviction as policy
from registry_cache.policy.eviction import HOUR, Bounds, Mark
from registry_cache.store import disk, eviction, inventory, locks, quarantine
from registry_cache.store.audit.owners import owners
from registry_cache.store.last_use import StoredBlob, UseSpreader
from registry_cache.store.layout import Layout
from registry_cache.store.pins import Pins
from registry_cache.store.size_ledger import SizeLedger

EXPIRED = "not used for longer than proxy.ttl"
TOO_LARGE = "least recently used, and over storage.max_size or under storage.min_free"
INTERRUPTED = "interrupted download"

# A plan names this many of what goes, the oldest; the whole of a large store's would not fit into memory.
MOST_NAMED = 1000

Progress = Callable[[str, int], None]
_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A blob that goes, and ``why``: ``size`` in bytes, last ``used`` in nanoseconds since the epoch."""

    digest: Digest
    size: int
    used: int
    why: str
    what: str = "blob"


@dataclass(slots=True)
class Result:
    """What a pass saw and did, or would do; all sizes in bytes.

    ``stored`` of ``blobs`` and manifests, and of what is unfinished; ``pinned`` of it. ``names`` that repositories had;
    ``in_use``: blobs that would have gone but for somebody's lock or use; ``over``: what must still go. ``planned``:
    time was enough to know what must go; ``complete``: and to do it. ``candidates`` are the oldest of those that a dry
    run found.
    """

    blobs: int = 0
    stored: int = 0
    pinned: int = 0
    evicted: int = 0
    evicted_bytes: int = 0
    names: int = 0
    leftovers: int = 0
    in_use: int = 0
    over: int = 0
    planned: bool = False
    complete: bool = True
    candidates: list[Candidate] = field(default_factory=list)


class _OutOfTime(Exception):
    """The pass has had its time."""


class Cleanup:
    """One pass over one store. ``now`` in seconds since the epoch.

    ``in_time`` is asked at each step whether there is time left; ``progress`` is told what is done and how often.
    """

    def __init__(
        self,
        layout: Layout,
        bounds: Bounds,
        now: float,
        in_time: Callable[[], bool] = lambda: True,
        progress: Progress = lambda doing, count: None,
    ) -> None:
        self._layout = layout
        self._bounds = bounds
        self._now = int(now * policy.SECOND)
        self._in_time = in_time
        self._progress = progress
        self._doing, self._steps = "", 0
        self._expired = policy.expired(self._now, bounds)
        self._mark = policy.NOTHING
        self._interrupted: set[StoredBlob] = set()
        self._spread = UseSpreader(layout)
        self.result = Result()

    def run(self) -> Result | None:
        """Evict what must go, and sweep up what crashes left; None where another pass is at it. Raises StoreError."""
        with disk.store_errors("clean up"), locks.hold_if_free(self._layout.cleanup_lock) as held:
            if not held:
                return None
            ledger = SizeLedger(self._layout)
            since = ledger.position()
            try:
                self._plan()
                self.result.planned = True
                self._evict()
            except _OutOfTime:
                self.result.complete = False
            if self.result.complete:
                ledger.replace(self.result.stored - self.result.evicted_bytes, since)
        self.result.over = self._excess(self.result.stored - self.result.evicted_bytes)
        return self.result

    def rehearse(self) -> Result:
        """Find out what ``run`` would evict, changing nothing on the disk. Raises StoreError."""
        self._spread = UseSpreader(self._layout, dry_run=True)
        with disk.store_errors("look through the store"):
            try:
                self._plan()
                oldest = heapq.nsmallest(MOST_NAMED, self._going(), key=lambda blob: (blob.used, blob.digest.hex))
                self.result.candidates = self._candidates(oldest)
            except _OutOfTime:
                self.result.complete = False
        return self.result

    def _plan(self) -> None:
        """Find the mark."""
        self._begin("handing on the use of manifests")
        self._use_pinned()
        self._spread.run(self._tick)
        self._begin("looking at blobs")
        # Before the blobs: one that is committed meanwhile would be among neither, and the size too small for good.
        unfinished = {each.digest: each for each in inventory.unfinished(self._layout)}
        hours: dict[int, int] = {}
        for blob in self._spread.blobs(self._tick):
            unfinished.pop(blob.digest, None)
            self.result.blobs += 1
            hours[blob.used // HOUR] = hours.get(blob.used // HOUR, 0) + blob.size
            if blob.used == self._now:  # by no client, but by _use_pinned
                self.result.pinned += blob.size
        self._interrupted = {each.stored for each in unfinished.values() if not each.running}
        for blob in self._interrupted:
            hours[blob.used // HOUR] = hours.get(blob.used // HOUR, 0) + blob.size
        # What transfers that run will take, as far as it is announced, is soon to come.
        coming = sum(max(each.bytes, each.size or 0) for each in unfinished.values() if each.running)
        self.result.stored = sum(hours.values()) + coming + quarantine.size(self._layout)
        need = self._excess(self.result.stored)
        self._mark = max(self._expired, policy.settled(self._oldest(hours, need), self._now) if need else self._expired)

    def _use_pinned(self) -> None:
        """Let a pass be a use of all that is pinned: it is never among what was used long ago, nor are its children."""
        pins = Pins(self._layout)
        for pin in pins.all():
            if pin.image.digest:
                self._spread.note_use(pin.image.digest, self._now)
            else:
                for held in pins.pinned_by(pin, self._tick):
                    self._spread.note_use(held.digest, self._now)

    def _excess(self, stored: int) -> int:
        return policy.excess(stored, inventory.disk_space(self._layout.root).free, self._bounds)

    def _oldest(self, hours: dict[int, int], need: int) -> Mark:
        """Return the mark before which the oldest ``need`` bytes were used."""
        everything = Mark((max(hours, default=0) + 1) * HOUR)
        found = policy.boundary(hours, need)
        if found is None:
            return everything
        hour, need = found
        moments = self._sizes(lambda blob: blob.used, lambda blob: blob.used // HOUR == hour)
        at = policy.boundary(moments, need)
        if at is None:  # Some were used meanwhile.
            return Mark((hour + 1) * HOUR - 1)
        moment, need = at
        if not policy.splits(moments[moment], need, self.result.stored):
            return Mark(moment)
        letters = self._sizes(lambda blob: blob.digest.hex[:2], lambda blob: blob.used == moment)
        last = policy.boundary(letters, need)
        return Mark.within(moment, last[0]) if last else Mark(moment)

    def _sizes(self, key: Callable[[StoredBlob], _Key], counts: Callable[[StoredBlob], bool]) -> dict[_Key, int]:
        found: dict[_Key, int] = {}
        for blob in chain(self._spread.blobs(self._tick), self._interrupted):
            if counts(blob):
                found[key(blob)] = found.get(key(blob), 0) + blob.size
        return found

    def _going(self) -> Iterator[StoredBlob]:
        """Yield the blobs that would go, and count them."""
        if self._mark == policy.NOTHING:
            return
        for blob in chain(self._spread.blobs(self._tick), self._interrupted):
            if self._mark.covers(blob.used, blob.digest.hex):
                self._count(blob)
                yield blob

    def _count(self, blob: StoredBlob) -> None:
        """Count a blob that goes, or what is here of one."""
        if blob in self._interrupted:
            self.result.leftovers += 1
        else:
            self.result.evicted += 1
        self.result.evicted_bytes += blob.size

    def _candidates(self, blobs: list[StoredBlob]) -> list[Candidate]:
        self._begin("looking up who has them")
        known = owners(self._layout, {blob.digest for blob in blobs}, self._tick) if blobs else {}
        known |= {blob.digest: INTERRUPTED for blob in self._interrupted}
        return [
            Candidate(
                blob.digest,
                blob.size,
                blob.used,
                EXPIRED if self._expired.covers(blob.used, blob.digest.hex) else TOO_LARGE,
                known.get(blob.digest, "blob of no repository"),
            )
            for blob in blobs
        ]

    def _evict(self) -> None:
        if self._mark != policy.NOTHING:
            self._begin("evicting names")
            for _ in eviction.evict_names(self._layout, self._mark.covers, self._mark.moment, self._tick):
                self.result.names += 1
            self._evict_blobs()
        self._begin("sweeping up")
        for _ in eviction.sweep(self._layout, self._now, self._tick):
            self.result.leftovers += 1

    def _evict_blobs(self) -> None:
        self._begin("evicting blobs")
        for blob in chain(self._spread.blobs(self._tick), self._interrupted):
            if not self._mark.covers(blob.used, blob.digest.hex):
                continue
            evict = eviction.evict_partial if blob in self._interrupted else eviction.evict_blob
            if evict(self._layout, blob, self._mark.covers):
                self._count(blob)
            else:
                self.result.in_use += 1

    def _begin(self, doing: str) -> None:
        self._doing, self._steps = doing, 0

    def _tick(self) -> None:
        self._steps += 1
        self._progress(self._doing, self._steps)
        if not self._in_time():
            raise _OutOfTime
