"""How many connections to nginx have bytes on the way at once, so that a ping need not wait behind all of a crowd."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
from gevent.event import Event

from registry_cache.server.periodic import PeriodicLook

# How many connections of a worker have a slot, and the seconds in which nginx takes what is on the way if its client is
# quick. With 80 slots one run in four was as slow as with all thousand.
_SLOTS = 64
_QUICK_SECONDS = 0.1


class SendSlots:
    """Lets so many connections at once have bytes on the way that the other end has not taken; the others queue.

    For nginx, which sees to each connection that has something for it in turn. With a thousand of them a turn takes a
    sixth of a second, and a ping waits for two: until it is accepted, and until our answer is read. A slow client,
    which has not taken its bytes within ``quick_seconds``, keeps no slot, and needs none until it is quick again.
    """

    def __init__(
        self,
        slots: int = _SLOTS,
        quick_seconds: float = _QUICK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = gevent.sleep,
    ) -> None:
        self._slots = slots
        self._quick_seconds = quick_seconds
        self._clock = clock
        self._taken: set[Slot] = set()
        self._queue: dict[Slot, Event] = {}
        self._looks = PeriodicLook(self._queue, lambda: pause(quick_seconds / 2), self._look)

    def slot(self) -> Slot:
        """Return what a connection enters for each of its blocks."""
        return Slot(self)

    def enter(self, slot: Slot) -> None:
        """Return when ``slot`` is free, or at once where none is needed."""
        if slot.slow:
            slot.began = self._clock()
        elif len(self._taken) < self._slots:
            self._take(slot)
        else:
            self._wait(slot)

    def leave(self, slot: Slot) -> None:
        """Its bytes are taken, or never will be."""
        slot.slow = self._is_late(slot)
        self._give_up(slot)

    def _take(self, slot: Slot) -> None:
        slot.began = self._clock()
        self._taken.add(slot)

    def _wait(self, slot: Slot) -> None:
        mine = self._queue[slot] = Event()
        self._looks.begin()
        try:
            mine.wait()
        except BaseException:
            self._queue.pop(slot, None)
            self._give_up(slot)
            raise

    def _look(self) -> None:
        """Give up the slots of slow clients."""
        for slot in tuple(self._taken):
            if self._is_late(slot):
                self._give_up(slot)

    def _is_late(self, slot: Slot) -> bool:
        return self._clock() - slot.began > self._quick_seconds

    def _give_up(self, slot: Slot) -> None:
        if slot not in self._taken:
            return
        self._taken.discard(slot)
        if self._queue:
            # Given now to the one that has waited longest: otherwise our own next block would come before them all.
            following = next(iter(self._queue))
            self._take(following)
            self._queue.pop(following).set()


class Slot:
    """Entered by one connection before it sends, left when that is taken. ``began``: when, by the clock."""

    __slots__ = ("_slots", "began", "slow")

    def __init__(self, slots: SendSlots) -> None:
        self._slots = slots
        self.began = 0.0
        self.slow = False

    def __enter__(self) -> None:
        self._slots.enter(self)

    def __exit__(self, *_: object) -> None:
        self._slots.leave(self)
