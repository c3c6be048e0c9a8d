"""Clients that read slowly get everything, through nginx too; those that read nothing are let go, and the log says so.

A minute is a second here: every bound is a sixtieth, and a client reads sixty times as fast as the one it stands for.
"""

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.harness.images import KiB, MiB, random_bytes
from tests.harness.nginx_rig import FASTER, Behind, running
from tests.harness.programs import short_folder
from tests.harness.waiting import eventually

RATE = FASTER * 15 * KiB  # of a line of 15 kB/s
SIZE = 8 * MiB  # twice what the kernel keeps for a client that reads slowly
WINDOW = 64 * KiB
SECONDS = 60.0


def hurried(text: str) -> str:
    text, changed = re.subn(
        r"(?<!_)send_timeout (\d+)s;", lambda found: f"send_timeout {int(found[1]) // FASTER}s;", text
    )
    assert changed == 1
    return text


@pytest.fixture(scope="module")
def soon() -> Iterator[Behind]:
    with (
        short_folder() as folder,
        running(folder, application="tests.deployment.nginx.hurried:app", altered=hurried) as behind,
    ):
        yield behind


@contextlib.contextmanager
def asking(address: str, path: str) -> Iterator[socket.socket]:
    host, port = address.split(":")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
        connection.settimeout(SECONDS)
        connection.connect((host, int(port)))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        yield connection


def read_slowly(address: str, path: str) -> bytes:
    """The body, as far as it came."""
    received = b""
    with asking(address, path) as connection, contextlib.suppress(ConnectionResetError):
        while data := connection.recv(WINDOW):
            received += data
            time.sleep(len(data) / RATE)  # the client's line
    return received.partition(b"\r\n\r\n")[2]


def stalled(address: str, path: str) -> int:
    """How much came to a client that read nothing until it was let go."""
    with asking(address, path) as connection:
        connection.recv(1)
        # nginx resets the connection, which is told to a client that asks for nothing.
        eventually(lambda: connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(WINDOW):
                received += len(data)
    return received


def test_a_slow_client_of_nginx_gets_a_hit_and_a_miss_and_one_that_stopped_is_let_go(soon: Behind) -> None:
    name = soon.repository()
    hit, miss = (random_bytes(SIZE, seed=seed) for seed in (60, 61))
    paths = [f"/v2/{name}/blobs/{soon.upstream.add_blob(data, name)}" for data in (hit, miss)]
    assert soon.app.get(paths[0]).body == hit

    with ThreadPoolExecutor(3) as clients:
        bodies = [clients.submit(read_slowly, soon.nginx.address, path) for path in paths]
        stopped = clients.submit(stalled, soon.nginx.address, paths[0])

        assert [body.result() == data for body, data in zip(bodies, (hit, miss), strict=True)] == [True, True]
        assert stopped.result() < SIZE
    assert "let a client go" not in soon.cache.log_text()


@pytest.mark.parametrize(("outcome", "seed"), [("miss", 62), ("hit", 63)])
def test_the_log_says_why_a_body_ended_early(soon: Behind, outcome: str, seed: int) -> None:
    name = soon.repository()
    path = f"/v2/{name}/blobs/{soon.upstream.add_blob(random_bytes(3 * SIZE, seed=seed), name)}"
    if outcome == "hit":
        eventually(lambda: soon.app.get(path).headers["X-Cache"] == "hit")
    line = re.compile(rf'request .*repository={name} .*outcome={outcome} .*error="the client reads nothing"')

    with asking(soon.cache.address, path) as connection:
        connection.recv(1)
        eventually(lambda: line.search(soon.cache.log_text()))
