"""Any bytes sent to a real server: it answers by the API or closes the connection, logs no defect and serves others.

`--hypothesis-profile=searching` takes other bytes in each run, and with `--hypothesis-seed=N` those of one run again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.odd_requests import LAST, TABLE, TOO_MUCH
from tests.harness.raw_client import exchange
from tests.harness.running import running, running_cache
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream

# 501: gunicorn does not know the transfer coding. Any other 5xx would be our defect.
STATUSES = {100, 200, 304, 400, 401, 404, 405, 414, 416, 417, 429, 431, 501}
ANSWER = re.compile(rb"HTTP/1\.[01] (\d{3}) [^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n")
LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: (\d+)\r\n")

DIGEST = b"sha256:" + b"ab" * 32
PIECES = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b"\xff", b"%", b"%2f", b"%00", b"#", b"@", b"[", b"\\", b"..",
    b"GET ", b"POST ", b" HTTP/1.0", b" HTTP/1.1\r\n", b"/v2/", b"/v2/library/app/blobs/" + DIGEST, b"/metrics",
    b"/v2/_catalog?n=-1", b"?ns=docker.io", b"Host: [::1\r\n", b"Content-Length: 5\r\n", b"Expect: 100-continue\r\n",
    b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"Range: bytes=0-1\r\n", b"If-None-Match: *\r\n",
    b"Content-Type: multipart/form-data; boundary=\r\n", b"X-Forwarded-For: x\r\n", b"X-Forwarded-Proto: https\r\n",
    b"Connection: upgrade\r\n", b"Cookie: a=b\r\n", b"Authorization: Basic !\r\n", b"a" * 300,
]  # fmt: skip
# Known odd requests, to be mutated or followed by another.
KNOWN = st.sampled_from([sent for sent, _ in (*TABLE.values(), *TOO_MUCH.values()) if len(sent) < 10_000])


@st.composite
def almost_requests(draw: st.DrawFn) -> bytes:
    sent = draw(KNOWN)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(sent)))
        until = draw(st.integers(at, min(at + 6, len(sent))))
        between = draw(st.just(b"") | st.sampled_from(PIECES) | st.binary(max_size=3))
        after = draw(KNOWN) if draw(st.integers(0, 6)) == 6 else sent[until:]
        sent = sent[:at] + between + after
    return sent


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CacheServer]:
    with running(FakeUpstream()) as upstream, running_cache(tmp_path_factory.mktemp("raw"), upstream) as server:
        yield server


def answers(told: bytes) -> Iterator[tuple[int, bytes]]:
    """Each status with its body; the last body may be cut by the end of the connection."""
    while told:
        head = ANSWER.match(told)
        assert head, told[:200]
        status, length = int(head[1]), LENGTH.search(head[0])
        size = int(length[1]) if length and status not in (100, 304) else 0
        yield status, told[head.end() : head.end() + size]
        told = told[head.end() + size :]


@settings(max_examples=600)
@given(sent=almost_requests() | st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
def test_any_bytes(server: CacheServer, sent: bytes) -> None:
    logged = len(server.log_text())
    for status, body in answers(exchange(server.address, sent)):
        assert status in STATUSES
        if status >= 400:
            (error,) = json.loads(body)["errors"]
            assert error["message"]

    assert [status for status, _ in answers(exchange(server.address, LAST))] == [200]
    told = server.log_text()[logged:]
    assert "Traceback" not in told
    assert "defect" not in told
    assert "[ERROR]" not in told
