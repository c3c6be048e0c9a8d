"""Who has bytes on the way to nginx, and whose turn it is."""

from __future__ import annotations

import gevent
from gevent.event import Event

from registry_cache.server.send_slots import SendSlots
from tests.harness.loop import Loop


class Sender:
    """A connection that sends block after block, each taken when the test says so."""

    def __init__(self, slots: SendSlots) -> None:
        self.begun = 0
        self._slot = slots.slot()
        self._taken = Event()
        gevent.spawn(self._send)
        gevent.idle()

    def _send(self) -> None:
        while True:
            with self._slot:
                self.begun += 1
                self._taken.wait()
                self._taken.clear()

    def taken(self) -> None:
        self._taken.set()
        gevent.idle()


def test_so_many_have_something_on_the_way_and_the_others_have_their_turn_in_order() -> None:
    loop = Loop()
    slots = SendSlots(2, 1.0, loop.clock, loop.pause)
    senders = [Sender(slots) for _ in range(4)]
    assert [each.begun for each in senders] == [1, 1, 0, 0]

    senders[1].taken()
    assert [each.begun for each in senders] == [1, 1, 1, 0]
    senders[0].taken()
    assert [each.begun for each in senders] == [1, 1, 1, 1]
    senders[2].taken()
    assert [each.begun for each in senders] == [1, 2, 1, 1]


def test_a_slow_client_keeps_nobody_waiting_and_waits_for_nobody_until_it_is_quick() -> None:
    loop = Loop()
    slots = SendSlots(1, 1.0, loop.clock, loop.pause)
    slow, other = Sender(slots), Sender(slots)
    assert (slow.begun, other.begun) == (1, 0)

    loop.now = 1.5
    loop.look.set()
    gevent.idle()
    assert (slow.begun, other.begun) == (1, 1)

    # Its place is the other's by now.
    slow.taken()
    assert (slow.begun, other.begun) == (2, 1)
    # That was quick: it has its turn behind the other.
    slow.taken()
    assert (slow.begun, other.begun) == (2, 1)
    other.taken()
    assert (slow.begun, other.begun) == (3, 1)


def test_who_leaves_the_queue_takes_no_place_with_it() -> None:
    loop = Loop()
    slots = SendSlots(1, 1.0, loop.clock, loop.pause)
    first = Sender(slots)
    gone = gevent.spawn(slots.enter, slots.slot())
    gevent.idle()
    last = Sender(slots)

    gone.kill()
    first.taken()

    assert (first.begun, last.begun) == (1, 1)


def test_who_is_given_a_place_and_ends_before_it_is_told_gives_it_on() -> None:
    loop = Loop()
    slots = SendSlots(1, 1.0, loop.clock, loop.pause)
    first = slots.slot()
    slots.enter(first)
    gone = gevent.spawn(slots.enter, slots.slot())
    gevent.idle()
    last = Sender(slots)

    gone.kill(block=False)
    slots.leave(first)
    gevent.idle()

    assert last.begun == 1
