"""Bytes that are no request, or one too many: an error of the API or the end of the connection, and others go on."""

import contextlib
import json
import re
import socket
import threading

import pytest

from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.workers import Workers

SECONDS = 40.0
CHUNK = 64 * 1024
MANY = 1000

GET = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n"
LAST = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
CHUNKED = GET + b"Transfer-Encoding: chunked\r\n\r\n"

# What is sent, and the statuses of all answers to it. Behind what is refused, or has a body, nothing is read any more.
TABLE: dict[str, tuple[bytes, list[int]]] = {
    "nothing": (b"", []),
    "half a line": (b"GET /v2/ HT", []),
    "half a head": (GET + b"X-Half", []),
    "empty lines": (b"\r\n\r\n\r\n", [400]),
    "no text": (bytes(range(1, 256)), [400]),
    "NUL": (b"\0" * 100, []),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [400]),
    "HTTP/0.9": (b"GET /v2/\r\n\r\n", [400]),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    "HTTP/2 by number": (b"GET /v2/ HTTP/2.0\r\nHost: x\r\n\r\n", [400]),
    "HTTP/2 by upgrade": (
        GET + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n\r\n" + LAST,
        [200, 200],
    ),
    "a proxy's preface": (b"PROXY TCP4 127.0.0.1 127.0.0.1 1 1\r\n" + LAST, [400]),
    "a method in lower case": (b"get /v2/ HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "a method that is none": (b"G{T /v2/ HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "CONNECT": (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", [405]),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", [405]),
    "TRACE": (b"TRACE /v2/ HTTP/1.1\r\nHost: x\r\n\r\n", [405]),
    "two blanks": (b"GET  /v2/ HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "a path without a slash": (b"GET v2/ HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "NUL in a path": (b"GET /v2/\0 HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "no ASCII in a path": (b"GET /v2/\xff/tags/list HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "an absolute URL": (LAST.replace(b"/v2/", b"http://elsewhere.example/v2/"), [200]),
    "an absolute URL that is none": (LAST.replace(b"/v2/", b"http://[x/v2/"), [400]),
    "another scheme": (LAST.replace(b"/v2/", b"ftp://x/v2/"), [400]),
    "a fragment": (LAST.replace(b"/v2/", b"/v2/#x"), [200]),
    "two hosts": (GET + b"Host: y\r\n\r\n", [400]),
    "a line of 5 kB": (b"GET /v2/" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", [414]),
    "a name of 3 kB": (LAST.replace(b"/v2/", b"/v2/" + b"a" * 3000 + b"/manifests/x"), [400]),
    "a tag of 3 kB": (LAST.replace(b"/v2/", b"/v2/a/manifests/" + b"a" * 3000), [404]),
    "a header of 9 kB": (GET + b"X: " + b"a" * 9000 + b"\r\n\r\n", [431]),
    "65 headers": (GET + b"".join(b"X-%d: a\r\n" % number for number in range(65)) + b"\r\n", [431]),
    "a folded header": (GET + b"X: a\r\n b\r\n\r\n", [400]),
    "LF alone": (b"GET /v2/ HTTP/1.1\nHost: x\n\n", [400]),
    "LF in a header": (GET + b"X: a\nTransfer-Encoding: chunked\r\n\r\n", [400]),
    "CR in a header": (GET + b"X: a\rY: b\r\n\r\n", [400]),
    "NUL in a header": (GET + b"X: a\0b\r\n\r\n", [400]),
    "a blank before the colon": (GET + b"Content-Length : 5\r\n\r\nhello" + LAST, [400]),
    "no colon": (GET + b"Header\r\n\r\n", [400]),
    "no name": (GET + b": a\r\n\r\n", [400]),
    "CGI's own names": (GET + b"SCRIPT_NAME: /v2\r\nPATH_INFO: /metrics\r\nConnection: close\r\n\r\n", [200]),
    "both lengths": (GET + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + LAST, [400]),
    "two lengths": (GET + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello" + LAST, [400]),
    "the same length twice": (GET + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello" + LAST, [400]),
    "lengths in a list": (GET + b"Content-Length: 5, 5\r\n\r\nhello" + LAST, [400]),
    "a length with a sign": (GET + b"Content-Length: +5\r\n\r\nhello" + LAST, [400]),
    "a negative length": (GET + b"Content-Length: -1\r\n\r\nhello" + LAST, [400]),
    "a length of 5000 digits": (GET + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", [400]),
    "an unknown coding": (GET + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + LAST, [501]),
    "chunked twice": (GET + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + LAST, [400]),
    "chunked by HTTP/1.0": (CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n" + LAST, [400]),
    "a body on GET": (GET + b"Content-Length: 5\r\n\r\nhello" + LAST, [200]),
    "an empty body on GET": (GET + b"Content-Length: 0\r\n\r\n" + LAST, [200, 200]),
    "half a body on GET": (GET + b"Content-Length: 500\r\n\r\nhello", [200]),
    "chunks on GET": (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + LAST, [200]),
    "a chunk that is none": (CHUNKED + b"zz\r\n" + LAST, [200]),
    "a body that waits on GET": (GET + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n" + LAST, [200]),
    "a body on POST": (
        LAST.replace(b"GET", b"POST").replace(b"close\r\n", b"x\r\nContent-Length: 5\r\n") + LAST,
        [405],
    ),
    "an expectation": (GET + b"Expect: miracles\r\n\r\n", [417]),
    "three in a row": (GET + b"\r\n" + GET.replace(b"/v2/", b"/v2/x") + b"\r\n" + LAST, [200, 404, 200]),
}
# What gunicorn 25 makes of some: nothing of that is worse.
OLDER: dict[str, list[int]] = {
    "no text": [],
    "LF alone": [],
    "a path without a slash": [200],
    "NUL in a path": [404],
    "two hosts": [200],
    "a line of 5 kB": [400],
}
# More than the server reads before it refuses: its answer may be lost with the rest, and the connection ends.
TOO_MUCH = {
    "a line without an end": (b"GET /v2/" + b"a" * 500_000, 414),
    "a header without an end": (GET + b"X: " + b"a" * 900_000, 431),
    "10,000 headers": (GET + b"".join(b"X-%d: a\r\n" % number for number in range(10_000)) + b"\r\n", 431),
}


def say(cache: CacheServer, data: bytes, *, ends: bool = True) -> bytes:
    """All that comes back, to the end of the connection, which may be a reset: of what was sent not all is read."""
    told = b""
    with connect(cache) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(data)
            if ends:
                connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while received := connection.recv(CHUNK):
                told += received
    return told


def connect(cache: CacheServer) -> socket.socket:
    host, port = cache.address.split(":")
    return socket.create_connection((host, int(port)), timeout=SECONDS)


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

    assert statuses(say(cache, sent)) in (expected, OLDER.get(name, expected))
    assert statuses(say(cache, LAST)) == [200]


@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_is_too_much(cache: CacheServer, name: str) -> None:
    sent, status = TOO_MUCH[name]

    told = say(cache, sent)

    assert not told or statuses(told) in ([status], [400])
    assert statuses(say(cache, LAST)) == [200]


@pytest.mark.parametrize(
    "body", [b"Content-Length: 1000000000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"]
)
def test_a_body_without_an_end_is_not_waited_for(cache: CacheServer, body: bytes) -> None:
    assert statuses(say(cache, GET + body, ends=False)) == [200]


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
    with workers.only(workers.first), connect(cache) as greedy:
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
