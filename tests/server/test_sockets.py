"""How a file leaves by the worker's connection."""

import os
import tempfile
from collections.abc import Iterator
from typing import IO, Any
from unittest import mock

import gevent
import pytest
from gevent import socket

from registry_cache.server.sockets import SEND_BLOCK as BLOCK
from registry_cache.server.sockets import Socket

DATA = os.urandom(200_000)


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        file.write(DATA)
        file.flush()
        yield file


def connected(family: int) -> tuple[Socket, Any]:
    """Both ends of a connection, the first of them the worker's."""
    with socket.socket(family) as listener:
        listener.bind("" if family == socket.AF_UNIX else ("127.0.0.1", 0))
        listener.listen()
        client = socket.socket(family)
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
    return Socket(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach()), client


def received(client: Any, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += client.recv(count)
    return data


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_a_part_of_a_file(file: IO[bytes], family: int) -> None:
    worker, client = connected(family)
    with worker, client:
        assert worker.sendfile(file, 50_000, 100_000) == 100_000
        assert received(client, 100_000) == DATA[50_000:150_000]
        # What the file has not, the caller fetches elsewhere.
        assert worker.sendfile(file, 195_000, 100_000) == 5_000
        assert received(client, 5_000) == DATA[195_000:]


def test_the_kernel_waits_for_full_packets_while_a_file_is_sent_and_not_after(file: IO[bytes]) -> None:
    worker, client = connected(socket.AF_INET)
    corked, really = [], os.sendfile

    def cork() -> int:
        value: int = worker.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK)
        return value

    def sendfile(*arguments: Any) -> int:
        corked.append(cork())
        return really(*arguments)

    with worker, client:
        with mock.patch.object(os, "sendfile", sendfile):
            worker.sendfile(file, 0, 100_000)
            # What the kernel hands on in one go ends in one small packet either way.
            worker.sendfile(file, 0, 64 * 1024)
        assert (corked, cork()) == ([1, 0], 0)

        with mock.patch.object(os, "sendfile", side_effect=BrokenPipeError), pytest.raises(BrokenPipeError):
            worker.sendfile(file, 0, 100_000)
        assert cork() == 0


def test_a_full_buffer_is_waited_for_and_others_have_a_turn_before_the_next_block(file: IO[bytes]) -> None:
    worker, client = connected(socket.AF_INET)
    story = mock.Mock()
    story.sendfile.side_effect = [BLOCK, 1000, 0]

    with (
        worker,
        client,
        mock.patch.object(os, "sendfile", story.sendfile),
        mock.patch.object(Socket, "wait_to_send", story.wait),
        mock.patch.object(gevent, "sleep", story.sleep),
    ):
        assert worker.sendfile(file, 0, 3 * BLOCK) == BLOCK + 1000

    assert [each[0] for each in story.mock_calls] == ["sendfile", "sleep", "sendfile", "wait", "sendfile"]


def test_a_connection_keeps_its_place_among_those_in_flight_until_its_bytes_are_taken(file: IO[bytes]) -> None:
    worker, client = connected(socket.AF_UNIX)
    story = mock.MagicMock()
    story.sendfile.side_effect = [BlockingIOError, 1000, 0]
    worker.slot = story.slot

    with (
        worker,
        client,
        mock.patch.object(os, "sendfile", story.sendfile),
        mock.patch.object(Socket, "wait_to_send", story.wait),
    ):
        assert worker.sendfile(file, 0, BLOCK) == 1000

    enter, leave = "slot.__enter__", "slot.__exit__"
    block = [enter, "sendfile", "wait", leave]
    assert [each[0] for each in story.mock_calls] == [*block, *block, enter, "sendfile", leave]
