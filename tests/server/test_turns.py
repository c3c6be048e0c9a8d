"""What a worker does in one turn of its loop, and when it gives others theirs."""

from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from unittest import mock

import gevent
import pytest
from gevent import socket
from gevent.event import Event
from gevent.pool import Pool
from gunicorn.workers.ggevent import GeventWorker

from registry_cache.server.sockets import _LOOKS as LOOKS
from registry_cache.server.sockets import SEND_SECONDS, InFlight, Lookout
from registry_cache.server.worker import Listener, Server, Turnstile, Worker

# What waits for an idle moment with this priority of libev's waits for a turn of the loop.
HIGHEST = 2


@pytest.fixture
def served() -> Iterator[Pool]:
    """The connections of a worker; each stays open."""
    served = Pool(1000)
    yield served
    served.kill()


@pytest.fixture
def server(served: Pool) -> Iterator[Server]:
    """Not started: the test is the loop."""
    with Listener(socket.create_server(("127.0.0.1", 0))) as listener:
        yield Server(listener, handle=gevent.sleep, renew=lambda context: context, spawn=served)


def turn(server: Server, served: Pool) -> int:
    """Accept what gevent would where a crowd waits; how many that was."""
    accepted = server.max_accept
    for _ in range(accepted):
        served.spawn(gevent.sleep, 3600)
    return accepted


def test_others_wake_before_one_takes_all_of_a_crowd(server: Server, served: Pool) -> None:
    turns = [turn(server, served) for _ in range(8)]

    assert turns == [1, 2, 4, 8, 16, 32, 32, 32]


def test_a_connection_is_served_in_the_turn_that_accepts_it(server: Server) -> None:
    order: list[str] = []
    server.set_handle(lambda *_: order.append("connection"))

    with socket.socket() as client:
        server.loop.run_callback(server.do_handle, client, None)
        # What a loop that begins nothing itself has before the connection.
        gevent.spawn(order.append, "stream").join()

    assert order == ["connection", "stream"]


def test_few_pass_a_turnstile_in_a_turn() -> None:
    turnstile, passed = Turnstile(), []

    def wait(number: int) -> None:
        turnstile.wait()
        passed.append(number)

    crowd = [gevent.spawn(wait, number) for number in range(50)]
    turns = [0]
    while len(passed) < len(crowd):
        gevent.idle(HIGHEST)
        turns.append(len(passed))

    assert passed == sorted(passed)
    # Our own look and the turnstile's come in any order within a turn: of two turns at most.
    assert max(after - before for before, after in pairwise(turns)) <= 2 * (1 + len(crowd) // 16)


def test_a_request_that_was_waited_for_is_answered_at_once() -> None:
    worker, connection = object.__new__(Worker), SimpleNamespace(waited=True)
    request = SimpleNamespace(method="GET", headers=[])

    with mock.patch.object(gevent, "sleep") as turn, mock.patch.object(GeventWorker, "handle_request") as handle:
        worker.handle_request(None, request, connection, None)
        assert not turn.called
        # Those that come without a pause let others have theirs between each two.
        worker.handle_request(None, request, connection, None)
        worker.handle_request(None, request, connection, None)

    assert turn.mock_calls == [mock.call(0)] * 2
    assert handle.call_count == 3


class Loop:
    """What an ``InFlight`` and a ``Lookout`` hear of time: its clock, and a pause that ends when the test lets it."""

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

    def __init__(self, in_flight: InFlight) -> None:
        self.begun = 0
        self._passage = in_flight.passage()
        self._taken = Event()
        gevent.spawn(self._send)
        gevent.idle()

    def _send(self) -> None:
        while True:
            with self._passage:
                self.begun += 1
                self._taken.wait()
                self._taken.clear()

    def taken(self) -> None:
        self._taken.set()
        gevent.idle()


def test_so_many_have_something_on_the_way_and_the_others_have_their_turn_in_order() -> None:
    loop = Loop()
    in_flight = InFlight(2, 1.0, loop.clock, loop.pause)
    senders = [Sender(in_flight) for _ in range(4)]
    assert [each.begun for each in senders] == [1, 1, 0, 0]

    senders[1].taken()
    assert [each.begun for each in senders] == [1, 1, 1, 0]
    senders[0].taken()
    assert [each.begun for each in senders] == [1, 1, 1, 1]
    senders[2].taken()
    assert [each.begun for each in senders] == [1, 2, 1, 1]


def test_a_slow_client_keeps_nobody_waiting_and_waits_for_nobody_until_it_is_quick() -> None:
    loop = Loop()
    in_flight = InFlight(1, 1.0, loop.clock, loop.pause)
    slow, other = Sender(in_flight), Sender(in_flight)
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
    in_flight = InFlight(1, 1.0, loop.clock, loop.pause)
    first = Sender(in_flight)
    gone = gevent.spawn(in_flight.enter, in_flight.passage())
    gevent.idle()
    last = Sender(in_flight)

    gone.kill()
    first.taken()

    assert (first.begun, last.begun) == (1, 1)


def test_who_is_given_a_place_and_ends_before_it_is_told_gives_it_on() -> None:
    loop = Loop()
    in_flight = InFlight(1, 1.0, loop.clock, loop.pause)
    first = in_flight.passage()
    in_flight.enter(first)
    gone = gevent.spawn(in_flight.enter, in_flight.passage())
    gevent.idle()
    last = Sender(in_flight)

    gone.kill(block=False)
    in_flight.leave(first)
    gevent.idle()

    assert last.begun == 1


def test_a_connection_that_was_closed_keeps_no_other_from_being_looked_at() -> None:
    loop = Loop()
    lookout = Lookout(loop.pause)
    closed = mock.Mock(**{"unread.side_effect": OSError})
    silent = mock.Mock(patience=SEND_SECONDS, **{"unread.return_value": 1000})
    lookout.begin(closed)
    lookout.begin(silent)
    gevent.idle()

    for _ in range(LOOKS + 1):
        silent.let_it_go.assert_not_called()
        loop.look.set()
        gevent.idle()

    silent.let_it_go.assert_called_once_with(1000)
    closed.let_it_go.assert_not_called()
