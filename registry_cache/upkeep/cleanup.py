"""Clean up a store in one bounded pass: plan what to evict, then evict it.

The use of manifests counts as use of their children. Every blob is looked at once to find the mark, and whatever was
last used before the mark is evicted: names first, then bytes. A dry run ends with the plan.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

from registry_cache.oci.digest import Digest
from registry_cache.policy import eviction as policy
from registry_cache.policy.eviction import HOUR, Bounds, Mark
from registry_cache.store import disk, eviction, inventory, locks, quarantine
from registry_cache.store.atomic_write import write_whole
from registry_cache.store.audit.owners import owners
from registry_cache.store.last_use import StoredBlob, UseSpreader, short_key
from registry_cache.store.layout import Layout
from registry_cache.store.pins import Pins
from registry_cache.store.size_ledger import SizeLedger
from registry_cache.upkeep.report import MOST_NAMED
from registry_cache.upkeep.reserved import reserved_blobs
from registry_cache.upkeep.steps import OutOfTime, PassProgress, Steps

EXPIRED = "not used for longer than proxy.ttl"
TOO_LARGE = "least recently used, and over storage.max_size or under storage.min_free"
INTERRUPTED = "interrupted download"
IN_PIECES = "ranges of a blob"

_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A blob to be evicted, and ``why``: ``size`` in bytes, last ``used`` in nanoseconds since the epoch."""

    digest: Digest
    size: int
    used: int
    why: str
    what: str = "blob"


@dataclass(slots=True)
class CleanupResult:
    """What a cleanup saw and did, or would do; all sizes in bytes.

    ``stored``: the size of ``blobs`` and manifests, of unfinished downloads and of pieces; ``pinned``: how much of it
    is pinned; ``reserved``: how much stays because it is reserved for its upstream, 0 where no room had to be made.
    ``names``: names in repositories that were evicted. ``in_use``: blobs that stay because somebody locked or used
    them. ``over``: how much is still too much. ``planned``: there was time to find what to evict; ``complete``: and to
    evict it. ``candidates``: the oldest blobs that a dry run found.
    """

    blobs: int = 0
    stored: int = 0
    pinned: int = 0
    reserved: int = 0
    evicted: int = 0
    evicted_bytes: int = 0
    names: int = 0
    leftovers: int = 0
    in_use: int = 0
    over: int = 0
    planned: bool = False
    complete: bool = True
    candidates: list[Candidate] = field(default_factory=list)


class Cleanup:
    """One cleanup of one store. ``now`` in seconds since the epoch; for the others see ``Steps``."""

    def __init__(
        self,
        layout: Layout,
        bounds: Bounds,
        now: float,
        in_time: Callable[[], bool] = lambda: True,
        progress: PassProgress | None = None,
    ) -> None:
        self._layout = layout
        self._bounds = bounds
        self._now = int(now * policy.SECOND)
        self._steps = Steps(in_time, progress)
        self._expired = policy.expired(self._now, bounds)
        # What goes to make room, in the order of policy.in_order.
        self._room = policy.NOTHING
        self._interrupted: set[StoredBlob] = set()
        self._in_pieces: set[StoredBlob] = set()
        self._reserved: set[int] = set()
        self._spread = UseSpreader(layout, now=self._now, ahead=policy.AHEAD)
        self.result = CleanupResult()

    def run(self) -> CleanupResult | None:
        """Evict what must go, and what crashes left; None where another cleanup is running. Raises StoreError."""
        with disk.store_errors("clean up"), locks.hold_if_free(self._layout.cleanup_lock) as held:
            if not held:
                return None
            ledger = SizeLedger(self._layout)
            since = ledger.position()
            try:
                self._plan()
                self.result.planned = True
                self._evict()
            except OutOfTime:
                self.result.complete = False
            if self.result.complete:
                ledger.replace(self.result.stored - self.result.evicted_bytes, since)
                # A full disk must not fail the cleanup that empties it.
                with contextlib.suppress(OSError):
                    write_whole(self._layout.last_cleanup, b"", modified=self._now)
        self.result.over = self._excess(self.result.stored - self.result.evicted_bytes)
        return self.result

    def dry_run(self) -> CleanupResult:
        """Find out what ``run`` would evict, without changing anything on the disk. Raises StoreError."""
        self._spread = UseSpreader(self._layout, dry_run=True, now=self._now, ahead=policy.AHEAD)
        with disk.store_errors("look through the store"):
            try:
                self._plan()
                oldest = heapq.nsmallest(
                    MOST_NAMED, self._blobs_to_evict(), key=lambda blob: (self._order(blob), blob.digest.hex)
                )
                self.result.candidates = self._candidates(oldest)
            except OutOfTime:
                self.result.complete = False
        return self.result

    def _plan(self) -> None:
        """Find the mark."""
        self._steps.begin("handing on the use of manifests")
        self._use_pinned()
        self._spread.run(self._steps.tick)
        self._steps.begin("looking at blobs")
        # Look before counting blobs: a download committed in between would be in neither, and the size stay too small.
        unfinished = {each.digest: each for each in inventory.unfinished(self._layout)}
        hours: dict[int, int] = {}
        for blob in self._spread.blobs(self._steps.tick):
            unfinished.pop(blob.digest, None)
            self.result.blobs += 1
            hour = self._hour(blob)
            hours[hour] = hours.get(hour, 0) + blob.size
            if blob.used == self._now:  # by _use_pinned, not by a client
                self.result.pinned += blob.size
        self._interrupted = {each.stored for each in unfinished.values() if not each.running}
        self._in_pieces = set(inventory.blobs_in_pieces(self._layout))
        for blob in chain(self._interrupted, self._in_pieces):
            hour = self._hour(blob)
            hours[hour] = hours.get(hour, 0) + blob.size
        # What running downloads have brought so far. What they announce may never come.
        coming = sum(each.bytes for each in unfinished.values() if each.running)
        self.result.stored = sum(hours.values()) + coming + quarantine.size(self._layout)
        need = self._excess(self.result.stored)
        if need and self._bounds.reserved:
            hours = self._without_reserved(hours)
        if need:
            self._room = policy.spare_recent(self._oldest(hours, need), self._now)

    def _without_reserved(self, hours: dict[int, int]) -> dict[int, int]:
        """Find what stays because it is reserved; return the sizes of what is left, by the hour of its last use."""
        self._reserved = reserved_blobs(self._layout, self._bounds.reserved, self._spread, self._steps.tick)
        left = self._sizes(self._hour, lambda blob: True)
        self.result.reserved = sum(hours.values()) - sum(left.values())
        return left

    def _should_evict(self, used: int, hex: str) -> bool:
        """Tell whether to evict a blob: for its age, or for room unless it is reserved."""
        if self._expired.covers(used, hex):
            return True
        if self._room == policy.NOTHING or (self._reserved and short_key(hex) in self._reserved):
            return False
        return self._room.covers(policy.in_order(used, self._now), hex)

    def _is_to_evict(self) -> bool:
        return self._expired != policy.NOTHING or self._room != policy.NOTHING

    def _order(self, blob: StoredBlob) -> int:
        return policy.in_order(blob.used, self._now)

    def _hour(self, blob: StoredBlob) -> int:
        return self._order(blob) // HOUR

    def _use_pinned(self) -> None:
        """Count this cleanup as a use of everything pinned, so that neither it nor its children were used long ago."""
        pins = Pins(self._layout)
        for pin in pins.all():
            # A signed manifest's bytes lie under another digest than its pin's.
            if not pin.image.digest or not self._spread.note_use(pin.image.digest, self._now):
                for held in pins.pinned_by(pin, self._steps.tick):
                    self._spread.note_manifest(held.digest, held.blob, self._now)

    def _excess(self, stored: int) -> int:
        return policy.excess(stored, inventory.disk_space(self._layout.root).free, self._bounds)

    def _oldest(self, hours: dict[int, int], need: int) -> Mark:
        """Return the mark before which the oldest ``need`` bytes were used."""
        everything = Mark((max(hours, default=0) + 1) * HOUR)
        found = policy.boundary(hours, need)
        if found is None:
            return everything
        hour, need = found
        moments = self._sizes(self._order, lambda blob: self._hour(blob) == hour)
        at = policy.boundary(moments, need)
        if at is None:  # Some have been used since.
            return Mark((hour + 1) * HOUR - 1)
        moment, need = at
        if not policy.must_split(moments[moment], need, self.result.stored):
            return Mark(moment)
        letters = self._sizes(lambda blob: blob.digest.hex[:2], lambda blob: self._order(blob) == moment)
        last = policy.boundary(letters, need)
        return Mark.within(moment, last[0]) if last else Mark(moment)

    def _sizes(self, key: Callable[[StoredBlob], _Key], counts: Callable[[StoredBlob], bool]) -> dict[_Key, int]:
        found: dict[_Key, int] = {}
        for blob in self._everything():
            if counts(blob) and not (self._reserved and short_key(blob.digest.hex) in self._reserved):
                found[key(blob)] = found.get(key(blob), 0) + blob.size
        return found

    def _everything(self) -> Iterator[StoredBlob]:
        """Yield every blob, and every part of one that a later pull would go on with."""
        return chain(self._spread.blobs(self._steps.tick), self._interrupted, self._in_pieces)

    def _blobs_to_evict(self) -> Iterator[StoredBlob]:
        """Yield the blobs that would be evicted, and count them."""
        if not self._is_to_evict():
            return
        for blob in self._everything():
            if self._should_evict(blob.used, blob.digest.hex):
                self._count(blob)
                yield blob

    def _count(self, blob: StoredBlob) -> None:
        """Count an evicted blob, or an evicted part of one."""
        if blob in self._interrupted or blob in self._in_pieces:
            self.result.leftovers += 1
        else:
            self.result.evicted += 1
        self.result.evicted_bytes += blob.size

    def _candidates(self, blobs: list[StoredBlob]) -> list[Candidate]:
        self._steps.begin("looking up who has them")
        known = owners(self._layout, {blob.digest for blob in blobs}, self._steps.tick) if blobs else {}
        known |= {blob.digest: INTERRUPTED for blob in self._interrupted}
        known |= {blob.digest: IN_PIECES for blob in self._in_pieces}
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
        if self._is_to_evict():
            self._steps.begin("evicting names")
            before = max(self._expired.moment, self._room.moment)
            for _ in eviction.evict_names(self._layout, self._should_evict, before, self._steps.tick):
                self.result.names += 1
            self._evict_blobs()
        self._steps.begin("sweeping up")
        for _ in eviction.sweep(self._layout, self._now, self._steps.tick):
            self.result.leftovers += 1

    def _evict_blobs(self) -> None:
        self._steps.begin("evicting blobs")
        for blob in self._everything():
            if not self._should_evict(blob.used, blob.digest.hex):
                continue
            evict = eviction.evict_blob
            if blob in self._interrupted:
                evict = eviction.evict_partial
            elif blob in self._in_pieces:
                evict = eviction.evict_pieces
            if evict(self._layout, blob, self._should_evict):
                self._count(blob)
            else:
                self.result.in_use += 1
