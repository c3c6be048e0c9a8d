"""Bytes that are no request, or one too many: an error of the API or the end of the connection, and others go on."""

import contextlib
import json
import re
import socket
import threading

import pytest

from tests.harness.odd_requests import GET, LAST, OLDER, TABLE, TOO_MUCH
from tests.harness.pullers import CHUNK, Puller
from tests.harness.raw_client import connect, exchange
from tests.harness.server import CacheServer
from tests.harness.workers import Workers

SECONDS = 40.0
MANY = 1000


def statuses(told: bytes) -> list[int]:
    """Those of all answers; each error must be one of the API."""
    found = []
    while told:
        head, _, rest = told.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        assert length, head
        body, told = rest[: int(length[1])], rest[int(length[1]) :]
        found.append(int(head.split()[1]))
        if found[-1] >= 400:
            (error,) = json.loads(body)["errors"]
            assert error["message"]
    return found


@pytest.mark.parametrize("name", TABLE)
def test_what_is_no_request(cache: CacheServer, name: str) -> None:
    sent, expected = TABLE[name]

    assert statuses(exchange(cache.address, sent)) in (expected, OLDER.get(name, expected))
    assert statuses(exchange(cache.address, LAST)) == [200]


@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_is_too_much(cache: CacheServer, name: str) -> None:
    sent, status = TOO_MUCH[name]

    told = exchange(cache.address, sent)

    assert not told or statuses(told) in ([status], [400])
    assert statuses(exchange(cache.address, LAST)) == [200]


@pytest.mark.parametrize(
    "body", [b"Content-Length: 1000000000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"]
)
def test_a_body_without_an_end_is_not_waited_for(cache: CacheServer, body: bytes) -> None:
    assert statuses(exchange(cache.address, GET + body, ends=False)) == [200]


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH"])
def test_a_push_hears_its_refusal_however_much_it_sends(puller: Puller, method: str) -> None:
    for _ in range(5):
        answer = puller.request(method, "/v2/library/app/blobs/uploads/1", body=bytes(5_000_000))
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_a_client_that_asks_without_a_pause_leaves_others_their_turn(
    cache: CacheServer, workers: Workers, puller: Puller
) -> None:
    answered = threading.Event()

    def ask(greedy: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                greedy.sendall((GET + b"\r\n") * MANY)

    def read(greedy: socket.socket) -> None:
        received = 0
        with contextlib.suppress(OSError):
            while data := greedy.recv(CHUNK):
                received += len(data)
                if received > MANY * len(GET):
                    answered.set()

    # All are clients of one worker: the others are stopped.
    with workers.only(workers.first), connect(cache.address) as greedy:
        threads = [threading.Thread(target=target, args=(greedy,)) for target in (ask, read)]
        for thread in threads:
            thread.start()
        try:
            assert answered.wait(SECONDS)
            assert puller.get("/v2/").status == 200
        finally:
            with contextlib.suppress(OSError):
                greedy.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(SECONDS)
