"""How many connections a worker takes in one turn of its loop."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from unittest import mock

import pytest
from gevent import socket as cooperative
from gevent.server import StreamServer

from registry_cache.worker import Server


@pytest.fixture
def listener() -> Iterator[cooperative.socket]:
    with cooperative.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        yield listener


@pytest.fixture
def server(listener: cooperative.socket) -> Server:
    """Not started: the test is the loop."""
    return Server(listener, handle=lambda *_: None, renew=lambda context: context)


def turn(server: Server) -> int:
    """What gevent does where somebody waits; how many it accepted."""
    for number in range(server.max_accept):
        accepted = server.do_read()
        if accepted is None:
            return number
        accepted[0].close()
    return number + 1


def test_others_wake_before_one_takes_all_of_a_crowd(server: Server, listener: cooperative.socket) -> None:
    with ExitStack() as crowd:
        for _ in range(12):
            crowd.enter_context(socket.create_connection(listener.getsockname()))

        assert [turn(server) for _ in range(6)] == [1, 2, 3, 4, 2, 0]
        # The next crowd begins anew.
        assert server.max_accept == 1


def test_there_is_an_end_to_it(server: Server, listener: cooperative.socket) -> None:
    for _ in range(40):
        with mock.patch.object(StreamServer, "do_read", return_value=(mock.Mock(), None)):
            turn(server)

    assert server.max_accept == 32
