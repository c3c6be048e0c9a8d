"""What a worker does in one turn of its loop, and when it gives others theirs."""

from collections.abc import Iterator
from itertools import pairwise
from unittest import mock

import gevent
import pytest
from gevent import socket
from gevent.event import Event

from registry_cache.server.acceptor import Acceptor, Listener, TurnQueue
from registry_cache.server.send_slots import SendSlots
from registry_cache.server.send_timeout import LOOKS, SEND_TIMEOUT_SECONDS, SendTimeouts

# What waits for an idle moment with this priority of libev's waits for a turn of the loop.
HIGHEST = 2


@pytest.fixture
def server() -> Iterator[Acceptor]:
    """Not started: the test is the loop. Each connection stays open."""
    with Listener(socket.create_server(("127.0.0.1", 0))) as listener:
        server = Acceptor(listener, 1000, gevent.sleep)
        yield server
        server.pool.kill()


def turn(server: Acceptor) -> int:
    """Accept what gevent would where a crowd waits; how many that was."""
    accepted = server.max_accept
    for _ in range(accepted):
        server.pool.start(gevent.Greenlet(gevent.sleep, 3600))
    return accepted


def test_others_wake_before_one_takes_all_of_a_crowd(server: Acceptor) -> None:
    assert [turn(server) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 32, 32]


def test_a_connection_is_served_in_the_turn_that_accepts_it(server: Acceptor) -> None:
    order: list[str] = []
    server.set_handle(lambda *_: order.append("connection"))

    with socket.socket() as client:
        server.loop.run_callback(server.do_handle, client, None)
        # What a loop that begins nothing itself has before the connection.
        gevent.spawn(order.append, "stream").join()

    assert order == ["connection", "stream"]


def test_few_pass_a_queue_in_a_turn() -> None:
    queue, passed = TurnQueue(), []

    def wait(number: int) -> None:
        queue.wait()
        passed.append(number)

    crowd = [gevent.spawn(wait, number) for number in range(50)]
    turns = [0]
    while len(passed) < len(crowd):
        gevent.idle(HIGHEST)
        turns.append(len(passed))

    assert passed == sorted(passed)
    # Our own look and the queue's come in any order within a turn: of two turns at most.
    assert max(after - before for before, after in pairwise(turns)) <= 2 * (1 + len(crowd) // 16)


class Loop:
    """What hears of time only when the test says so: a clock, and a pause that ends when the test lets it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.look = Event()

    def clock(self) -> float:
        return self.now

    def pause(self, _: float) -> None:
        self.look.wait()
        self.look.clear()


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


def test_a_connection_that_was_closed_keeps_no_other_from_being_looked_at() -> None:
    loop = Loop()
    timeouts = SendTimeouts(loop.pause)
    closed = mock.Mock(**{"unread.side_effect": OSError})
    silent = mock.Mock(send_timeout=SEND_TIMEOUT_SECONDS, **{"unread.return_value": 1000})
    timeouts.begin(closed)
    timeouts.begin(silent)
    gevent.idle()

    for _ in range(LOOKS + 1):
        silent.end.assert_not_called()
        loop.look.set()
        gevent.idle()

    silent.end.assert_called_once_with(1000)
    closed.end.assert_not_called()
