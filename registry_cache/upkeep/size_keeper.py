"""The keeper: has a pass run when the store is over its bounds or the disk is full, so that cron is a habit, no need.

Each worker has one. It adds up what downloads announce, and starts a pass in a process of its own, where no client
waits for it. Of several passes at once all but one find the lock taken and end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from registry_cache.errors import StoreError, StoreFull
from registry_cache.oci.digest import Digest
from registry_cache.policy import eviction as policy
from registry_cache.policy.eviction import Bounds
from registry_cache.runtime.log import Log
from registry_cache.store import inventory
from registry_cache.store.layout import Layout
from registry_cache.store.size_ledger import SizeLedger

# After a pass, the next is begun no sooner than the last one took: what is in use does not go, and must not be looked
# for without end.
_SHORTEST, _LONGEST = 0.02, 60.0

# A disk that has room and refuses is believed when it does so again: no sooner than a worker may tell of a refusal that
# another's pass has mended since, and no later than that the first one is forgotten.
_LATE, _FORGOTTEN = 2.0, 120.0

# Beyond ``max_size`` by this share, new downloads wait for the pass: a small store turns over in the time it takes.
TOLERANCE = 0.02
# But not for long: a pull is worth more than the size.
PATIENCE = 5.0
_POLL = 0.02

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class SpaceNeeded:
    """What a pass is to bring about besides the bounds: ``free`` bytes on the disk, or ``less`` bytes of ours.

    What is here of ``blob``, for which there was no room, counts as free.
    """

    free: int = 0
    less: int = 0
    blob: Digest | None = None


class Keeper:
    """Holds one store to ``bounds``.

    ``evict`` runs one pass, which brings about what is wanted, too. It returns how many bytes are pinned, None where it
    did not get to count.
    """

    def __init__(self, layout: Layout, bounds: Bounds, evict: Callable[[SpaceNeeded], int | None]) -> None:
        self._layout = layout
        self._bounds = bounds
        self._evict = evict
        self._ledger = SizeLedger(layout)
        self._mutex = threading.Lock()
        self._ended = threading.Condition(self._mutex)
        self._running = False
        # Somebody asked for a pass while one ran, which may have counted before what they brought.
        self._again = False
        self._needed = SpaceNeeded()
        self._not_before = 0.0
        self._pinned, self._pinned_until = 0, 0.0
        self._refused_at: float | None = None

    def expect(self, size: int) -> None:
        """Count ``size`` bytes that are about to be stored. Raises StoreFull where they would never fit."""
        if self._bounds.max_size is not None and size > self._bounds.max_size:
            raise StoreFull(f"a blob of {size} bytes is larger than storage.max_size, {self._bounds.max_size}")
        self._ledger.add(size)
        until = time.monotonic() + PATIENCE
        while self._due():
            self._start()
            if not self._far_over() or time.monotonic() > until:
                return
            with self._ended:
                self._ended.wait(_POLL)

    def full(self, digest: Digest, size: int | None) -> None:
        """Have room made for a blob of ``size`` bytes, None where it is not known: the disk has refused it."""
        try:
            room = inventory.disk_space(self._layout.root)
        except StoreError as error:
            _log.warning("could not ask for the room on the disk", error=error)
            return
        stored = self._ledger.total() or 0
        need = policy.emergency(size or 0, stored, room.free, room.total)
        # An amount that is to be free, so that of two workers on one full disk the second finds nothing left to do.
        if room.free + inventory.size_of(self._layout, digest) < need:
            self._needed = SpaceNeeded(free=need, blob=digest)
        elif self._refused_before():
            # A quota or the inodes have run out, and only less of us can help.
            self._needed = SpaceNeeded(less=policy.emergency(size or 0, stored, 0, stored))
        else:
            return
        self._start()

    def _refused_before(self) -> bool:
        """Tell whether the disk, which has room, refused a blob some time ago as well.

        Once says nothing: the refusal may be from before another worker's pass made that room.
        """
        with self._mutex:
            now, before = time.monotonic(), self._refused_at
            if before is None or now - before > _FORGOTTEN:
                self._refused_at = now
                return False
            return now - before >= _LATE

    def _due(self) -> bool:
        try:
            total = self._ledger.total()
            if total is not None and total <= self._floor():
                return False
            return policy.due(total, inventory.disk_space(self._layout.root).free, self._bounds)
        except StoreError:
            # The download is about to find out what is wrong, and says so.
            return False

    def _far_over(self) -> bool:
        limit = self._bounds.max_size
        return limit is not None and (self._ledger.total() or 0) > max(limit * (1 + TOLERANCE), self._floor())

    def _floor(self) -> float:
        """Return how many bytes are pinned, and some, while that is news.

        Without it, every download would wait for a pass that does nothing where more is pinned than has room.
        """
        return self._pinned * (1 + TOLERANCE) if time.monotonic() < self._pinned_until else 0.0

    def _start(self) -> None:
        with self._mutex:
            if self._running:
                self._again = True
            if self._running or time.monotonic() < self._not_before:
                return
            self._running = True
        threading.Thread(target=self._run, name="keeper", daemon=True).start()

    def _run(self) -> None:
        self._pass()
        # Who asked meanwhile has waited for so long at most, and does not ask again.
        while self._asked_again() and self._due():
            time.sleep(max(0.0, self._not_before - time.monotonic()))
            with self._mutex:
                if self._running:
                    return
                self._running = True
            self._pass()

    def _asked_again(self) -> bool:
        with self._mutex:
            again, self._again = self._again, False
            return again

    def _pass(self) -> None:
        began = time.monotonic()
        needed, self._needed = self._needed, SpaceNeeded()
        pinned = None
        try:
            pinned = self._evict(needed)
        except OSError as error:
            _log.error("could not start a cleanup", error=error)
        with self._ended:
            now = time.monotonic()
            self._not_before = now + min(_LONGEST, max(_SHORTEST, now - began))
            if pinned is not None:
                self._pinned, self._pinned_until = pinned, now + _LONGEST
            self._running = False
            self._ended.notify_all()
