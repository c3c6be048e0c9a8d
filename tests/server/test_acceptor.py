"""How many connections a turn of the loop accepts, and which of them go on in it."""

from collections.abc import Iterator
from itertools import pairwise

import gevent
import pytest
from gevent import socket

from registry_cache.server.acceptor import Acceptor, Listener, TurnQueue

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
