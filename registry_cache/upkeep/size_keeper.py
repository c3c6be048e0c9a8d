"""Start a cleanup when the store is over its bounds or the disk is full, so that nobody needs cron for it.

Each worker has one SizeKeeper. It adds up the bytes that downloads bring, and starts a cleanup in a process of its own,
where no client waits for it. Of several cleanups at once, all but one find the lock taken and end.
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

# After a cleanup the next one waits for as long as the last one took, within these bounds: what is in use cannot be
# evicted, and must not be looked for without end.
_LEAST_PAUSE_SECONDS, _MOST_PAUSE_SECONDS = 0.02, 60.0

# A disk that has room and refuses is believed when it refuses again. Not within the first of these, because another
# worker's cleanup may have made that room since the refusal; and not after the second, when the first refusal is old.
_BELIEVE_AFTER_SECONDS, _FORGET_AFTER_SECONDS = 2.0, 120.0

# When ``max_size`` is exceeded by this share, new downloads wait for the cleanup: the content of a small store would be
# replaced in the time it takes.
TOLERANCE = 0.02
# But not for long: a pull matters more than the size.
WAIT_TIMEOUT_SECONDS = 5.0
_POLL_SECONDS = 0.02

# A download counts what has come whenever that is this share of ``max_size``, so that a hundred of them together leave
# a tenth uncounted; within these bounds, because each count costs some system calls.
_STEP_SHARE = 1000
_LEAST_STEP, _MOST_STEP = 64 * 1024, 16 * 1024 * 1024

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class SpaceNeeded:
    """What a cleanup has to reach besides the bounds: ``free`` bytes on the disk, or ``less`` bytes in the store.

    What is here of ``blob``, for which there was no room, counts as free.
    """

    free: int = 0
    less: int = 0
    blob: Digest | None = None


class SizeKeeper:
    """Holds one store to ``bounds``.

    ``evict`` runs one cleanup, which also makes the space needed. It returns how many bytes are pinned, None where it
    did not count them.
    """

    def __init__(self, layout: Layout, bounds: Bounds, evict: Callable[[SpaceNeeded], int | None]) -> None:
        self._layout = layout
        self._bounds = bounds
        self._evict = evict
        self._ledger = SizeLedger(layout)
        self._mutex = threading.Lock()
        self._ended = threading.Condition(self._mutex)
        self._running = False
        # Somebody asked for a cleanup while one ran, which may have counted before their bytes came.
        self._run_again = False
        self._needed = SpaceNeeded()
        self._not_before = 0.0
        self._pinned, self._pinned_until = 0, 0.0
        self._refused_at: float | None = None

    def incoming(self, size: int = 0) -> IncomingBlob:
        """Return what counts the bytes of one download, which found ``size`` of them here."""
        return IncomingBlob(self, size)

    @property
    def step(self) -> int:
        """After how many bytes a download counts them."""
        share = (self._bounds.max_size or _MOST_STEP * _STEP_SHARE) // _STEP_SHARE
        return min(max(share, _LEAST_STEP), _MOST_STEP)

    def refuse_oversized(self, size: int) -> None:
        """Raise StoreFull where a blob of ``size`` bytes is more than one may take."""
        try:
            largest = policy.largest_blob(
                self._ledger.total(), inventory.disk_space(self._layout.root).free, self._bounds
            )
        except StoreError:
            return
        if largest is not None and size > largest:
            raise StoreFull(f"{size} bytes are more than one blob may take, {largest} (storage.max_blob_percent)")

    def count(self, size: int) -> None:
        """Count ``size`` bytes more, or less."""
        self._ledger.add(size)

    def count_pieces(self, size: int) -> None:
        """Count ``size`` bytes of ranges that are kept, and start a cleanup if one is due; waits for nothing."""
        self.count(size)
        self.make_room(time.monotonic())

    def make_room(self, until: float) -> None:
        """Start a cleanup if one is due; where the store is far over its size wait for it, ``until`` then at most."""
        while self._is_due():
            self.start_pass()
            if not self._is_far_over() or time.monotonic() > until:
                return
            with self._ended:
                self._ended.wait(_POLL_SECONDS)

    def full(self, digest: Digest, size: int) -> None:
        """Make room for a blob that the disk has refused after ``size`` bytes."""
        try:
            room = inventory.disk_space(self._layout.root)
        except StoreError as error:
            _log.warning("could not ask for the room on the disk", error=error)
            return
        stored = self._ledger.total() or 0
        percent = self._bounds.blob_percent
        need = policy.emergency(size, stored, room.free, room.total, percent)
        # Ask for an amount to be free, so that of two workers on one full disk the second finds nothing left to do.
        if room.free + inventory.size_of(self._layout, digest) < need:
            self._needed = SpaceNeeded(free=need, blob=digest)
        elif self._refused_before():
            # A quota or the inodes have run out, and only a smaller store can help.
            self._needed = SpaceNeeded(less=policy.emergency(size, stored, 0, stored, percent))
        else:
            return
        self.start_pass()

    def _refused_before(self) -> bool:
        """Whether the disk, which has room, refused a blob some time ago as well.

        A single refusal says nothing: it may be from before another worker's cleanup made that room.
        """
        with self._mutex:
            now, before = time.monotonic(), self._refused_at
            if before is None or now - before > _FORGET_AFTER_SECONDS:
                self._refused_at = now
                return False
            return now - before >= _BELIEVE_AFTER_SECONDS

    def _is_due(self) -> bool:
        try:
            total = self._ledger.total()
            if total is not None and total <= self._floor():
                return False
            return policy.is_due(total, inventory.disk_space(self._layout.root).free, self._bounds)
        except StoreError:
            # The download itself will find out what is wrong, and report it.
            return False

    def _is_far_over(self) -> bool:
        limit = self._bounds.max_size
        return limit is not None and (self._ledger.total() or 0) > max(limit * (1 + TOLERANCE), self._floor())

    def _floor(self) -> float:
        """Return the size of what is pinned, plus the tolerance, as long as that count is recent.

        Without it every download would wait for a cleanup that can do nothing, where more is pinned than the bounds.
        """
        return self._pinned * (1 + TOLERANCE) if time.monotonic() < self._pinned_until else 0.0

    def start_pass(self) -> None:
        """Start a cleanup, unless one is running or has just ended, and return at once."""
        with self._mutex:
            if self._running:
                self._run_again = True
            if self._running or time.monotonic() < self._not_before:
                return
            self._running = True
        threading.Thread(target=self._run, name="keeper", daemon=True).start()

    def _run(self) -> None:
        self._pass()
        # A download that asked meanwhile has been waiting, or was refused by the disk, and does not ask again.
        while self._take_second_request() and (self._needed.free or self._is_due()):
            time.sleep(max(0.0, self._not_before - time.monotonic()))
            with self._mutex:
                if self._running:
                    return
                self._running = True
            self._pass()

    def _take_second_request(self) -> bool:
        with self._mutex:
            again, self._run_again = self._run_again, False
            return again

    def _pass(self) -> None:
        began = time.monotonic()
        needed, self._needed = self._needed, SpaceNeeded()
        pinned = None
        try:
            pinned = self._evict(needed)
        except OSError as error:
            _log.error("could not start a cleanup", error=error)
        except Exception:  # noqa: BLE001 — otherwise no cleanup would ever start again
            _log.exception("a cleanup could not be started because of a defect")
        self._note_end(began, pinned)

    def _note_end(self, began: float, pinned: int | None) -> None:
        with self._ended:
            now = time.monotonic()
            self._not_before = now + min(_MOST_PAUSE_SECONDS, max(_LEAST_PAUSE_SECONDS, now - began))
            if pinned is not None:
                self._pinned, self._pinned_until = pinned, now + _MOST_PAUSE_SECONDS
            self._running = False
            self._ended.notify_all()


class IncomingBlob:
    """Counts the bytes of one download as they come, and waits for room for them.

    What is only announced counts for nothing: whoever announces much would have the content of all others evicted.
    """

    def __init__(self, keeper: SizeKeeper, size: int) -> None:
        self._keeper = keeper
        self._counted = size
        self._waited = 0.0

    def announced(self, size: int) -> None:
        """Note that the blob is to have ``size`` bytes. Raises StoreFull where that is more than one may take."""
        self._keeper.refuse_oversized(size)

    def arrived(self, size: int, *, is_whole: bool = False) -> None:
        """Count that ``size`` bytes are here; cheap unless many have come since the last time, or these are all.

        May wait for room, but for all of a download not longer than WAIT_TIMEOUT_SECONDS. Raises StoreFull.
        """
        if size - self._counted < (1 if is_whole else self._keeper.step):
            return
        self._keeper.count(size - self._counted)
        self._counted = size
        self._keeper.refuse_oversized(size)
        began = time.monotonic()
        self._keeper.make_room(began + WAIT_TIMEOUT_SECONDS - self._waited)
        self._waited += time.monotonic() - began

    def ended(self, size: int) -> None:
        """Note that no more will come, and that ``size`` bytes stay: 0 where they were discarded."""
        self._keeper.count(size - self._counted)
