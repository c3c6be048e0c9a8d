"""How a file leaves by the worker's connection."""

import os
import tempfile
from collections.abc import Iterator
from typing import IO, Any
from unittest import mock

import pytest
from gevent import socket

from registry_cache.worker import _Socket

DATA = os.urandom(200_000)


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        file.write(DATA)
        file.flush()
        yield file


def connected(family: int) -> tuple[_Socket, Any]:
    """Both ends of a connection, the first of them the worker's."""
    with socket.socket(family) as listener:
        listener.bind("" if family == socket.AF_UNIX else ("127.0.0.1", 0))
        listener.listen()
        client = socket.socket(family)
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
    return _Socket(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach()), client


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
        assert worker.sendfile(file, 150_000, 100_000) == 50_000
        assert received(client, 50_000) == DATA[150_000:]


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
            worker.sendfile(file, 0, 10_000)
        assert (corked, cork()) == ([1], 0)

        with mock.patch.object(os, "sendfile", side_effect=BrokenPipeError), pytest.raises(BrokenPipeError):
            worker.sendfile(file, 0, 10_000)
        assert cork() == 0
