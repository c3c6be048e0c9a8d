"""A stop: what is under way finishes, what only waits does not hold it up."""

import re
import socket
import threading
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import MiB, random_bytes
from tests.harness.pull_rig import holding
from tests.harness.raw_client import connect
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually
from tests.harness.workers import Workers

# gunicorn looks once a second whether to stop; its own grace, which idle connections used to take whole, is 30.
PROMPT_SECONDS = 20.0


def test_idle_connections_do_not_hold_up_a_stop(upstream: FakeUpstream, make_cache: MakeCache) -> None:
    cache = make_cache()
    idle = [HTTPConnection(cache.address) for _ in range(6)]
    for connection in idle:
        connection.request("GET", "/v2/")
        assert connection.getresponse().read() == b"{}"

    began = time.monotonic()
    cache.terminate()
    assert time.monotonic() - began < PROMPT_SECONDS

    for connection in idle:
        connection.close()
    cache.start()


@pytest.mark.parametrize(("place", "status"), [("main", b"200"), ("debug", b"404")])
def test_a_connection_that_was_accepted_before_the_stop_may_ask_after_it(
    make_cache: MakeCache, place: str, status: bytes
) -> None:
    cache = make_cache({"http": {"debug": {"addr": "127.0.0.1:0"}}})
    workers = Workers(cache)
    said = re.search(r"metrics and health on http://(127\.0\.0\.1:[0-9]+)", cache.log_text())
    assert said
    address = cache.address if place == "main" else said[1]
    port = int(address.rpartition(":")[2])
    with workers.only(workers.first):
        connection = connect(address)
        # A worker takes them in turn: once this one is answered it has accepted ours.
        with connect(address) as behind:
            assert ask(behind)

    stop = threading.Thread(target=cache.terminate)
    stop.start()
    eventually(lambda: not listens(workers.first, port))
    with connection:
        answer = ask(connection)
    stop.join()

    # The debug address has no API, and the connection is still its own.
    assert answer.split()[1] == status, answer
    assert "Traceback" not in cache.log_text()
    cache.start()


def ask(connection: socket.socket) -> bytes:
    """Return the begin of the answer to a request on `connection`."""
    connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: cache\r\nConnection: close\r\n\r\n")
    return connection.recv(4096)


def listens(process: int, port: int) -> bool:
    """Tell whether `process` has a socket that listens on `port`."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    listening = [line[9] for line in lines if line[3] == "0A" and line[1].endswith(f":{port:04X}")]
    return any(holding(process, f"socket:[{inode}]") for inode in listening)


def test_a_transfer_under_way_finishes_before_the_stop(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    cache = make_cache()
    blob = upstream.add_blob(random_bytes(4 * MiB, seed=1))
    upstream.faults.hold_at = 1 * MiB
    pull = make_puller(cache.url).start_blob("library/app", blob)
    pull.wait_for(1 * MiB // 2)

    stop = threading.Thread(target=cache.terminate)
    stop.start()
    eventually(lambda: "Handling signal: term" in cache.log_text())
    upstream.faults.gate.set()

    assert pull.finish().digest == blob
    stop.join()
    cache.start()
