"""Heads without an end, and bodies that grow: each has a bound, and none stops a worker."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import time
import zlib
from collections.abc import Callable, Iterator

import pytest

from registry_cache.errors import UpstreamError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Tag
from registry_cache.upstream.body import inflater
from registry_cache.upstream.network import wire
from registry_cache.upstream.network.wire import MAX_HEAD_LINES, MAX_HEAD_SIZE
from tests.harness.pull_rig import SECONDS
from tests.harness.raw import Endless, RawServer
from tests.harness.store_rig import APP
from tests.harness.upstream_rig import connect, read_all

OK = b"HTTP/1.1 200 OK\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
DATA = b"layer" * 1000
DIGEST = Digest.of(DATA)


@pytest.fixture
def endless() -> Iterator[Callable[..., Endless]]:
    made: list[Endless] = []

    def make(begin: bytes, piece: bytes, pause: float = 0.0) -> Endless:
        made.append(Endless(begin, piece, pause))
        return made[-1]

    yield make
    for each in made:
        each.stop()


HEADS = [
    pytest.param(b"", CONTINUE * 100, id="continue"),
    pytest.param(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100, id="hints"),
    pytest.param(b"", b"HTTP/1.1 100 Continue\r\n" + b"X: y\r\n" * 50 + b"\r\n", id="continue with headers"),
    pytest.param(OK, b"X: y\r\n" * 1000, id="headers"),
    pytest.param(OK + b"X: ", b"y" * 10_000, id="one header"),
    pytest.param(b"", b"H" * 10_000, id="status"),
]
BODIES = [
    pytest.param(CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: y\r\n" * 1000, id="trailers"),
    pytest.param(CHUNKED + b"2\r\n{}\r\n0\r\nX: ", b"y" * 10_000, id="one trailer"),
    pytest.param(CHUNKED + b"2", b"0" * 10_000, id="length"),
    pytest.param(CHUNKED + b"2;", b"x" * 10_000, id="extension"),
    pytest.param(CHUNKED, b"1;" + b"x" * 10_000 + b"\r\n \r\n", id="an extension for each byte"),
]


@pytest.mark.parametrize(("begin", "piece"), [*HEADS, *BODIES])
def test_what_has_no_end_ends(endless: Callable[..., Endless], begin: bytes, piece: bytes) -> None:
    server = endless(begin, piece)
    began = time.monotonic()
    registry = connect(server.url)
    with pytest.raises(UpstreamError):
        registry.get_manifest(APP, Tag("latest"))
    with contextlib.suppress(UpstreamError):
        # Bytes may come before what has no end.
        assert read_all(registry.open_blob(APP, DIGEST)) in (b"", b"{}")
    assert time.monotonic() - began < SECONDS / 2


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        pytest.param(OK, b"X: y\r\n", id="header"),
        pytest.param(OK + b"X: ", b"y", id="byte"),
        pytest.param(b"", CONTINUE, id="continue"),
        pytest.param(CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: y\r\n", id="trailer"),
        pytest.param(CHUNKED, b"0", id="length"),
    ],
)
def test_what_comes_now_and_then_ends(
    endless: Callable[..., Endless], monkeypatch: pytest.MonkeyPatch, begin: bytes, piece: bytes
) -> None:
    monkeypatch.setattr(wire, "HEAD_TIMEOUT_SECONDS", 0.3)
    server = endless(begin, piece, pause=0.02)
    with contextlib.suppress(UpstreamError):
        assert read_all(connect(server.url).open_blob(APP, DIGEST)) in (b"", b"{}")
    assert server.sent <= 60 * len(piece)


def _pieces(data: bytes) -> list[bytes]:
    return [data[at : at + 10] for at in range(0, len(data), 10)]


def test_what_is_long_and_has_an_end_is_taken() -> None:
    head = CONTINUE * 5 + b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n" + OK
    long = b"X: " + b"y" * 16_000 + b"\r\n"
    chunks = b"".join(b"%x;a=b\r\n%s\r\n" % (len(each), each) for each in _pieces(DATA))
    server = RawServer(head + long + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nX: y\r\n\r\n")
    try:
        assert read_all(connect(server.url).open_blob(APP, DIGEST)) == DATA
    finally:
        server.stop()
    assert len(head + long) < MAX_HEAD_SIZE
    assert chunks.count(b"\n") > MAX_HEAD_LINES


def test_small_chunks_leave_others_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = list[float]()
    sleep = time.sleep

    def note(seconds: float) -> None:
        turns.append(time.monotonic())
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", note)
    server = RawServer(CHUNKED + b"258\r\n%s\r\n" % (b" " * 600) * 6000 + b"0\r\n\r\n")
    began = time.monotonic()
    try:
        assert len(connect(server.url).get_manifest(APP, Tag("latest")).data) == 3_600_000
    finally:
        server.stop()
    moments = [began, *turns, time.monotonic()]
    assert max(after - before for before, after in itertools.pairwise(moments)) < SECONDS / 4
    assert len(turns) > 2


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("X-GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("gzip, aws-chunked", gzip.compress),
        *((label, bytes) for label in (" identity ", "", "none", "aws-chunked", "UTF-8", "binary, identity")),
    ],
)
def test_a_body_is_decoded_up_to_a_bound(encoding: str, encode: Callable[[bytes], bytes]) -> None:
    decode = inflater(encoding)
    if decode is None:
        assert encode is bytes
        return
    assert decode(encode(DATA), 10_000) == DATA
    bomb = inflater(encoding)
    assert bomb is not None
    assert len(bomb(encode(b" " * 50_000_000), 1000)) == 1000
    assert len(bomb(b"", 1000)) == 1000
    broken = inflater(encoding)
    assert broken is not None
    with pytest.raises(UpstreamError):
        broken(b"nonsense", 10)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "nonsense"])
def test_an_encoding_that_nobody_asked_for_is_an_error(encoding: str) -> None:
    with pytest.raises(UpstreamError, match="encoded"):
        inflater(encoding)


@pytest.mark.parametrize(
    "body",
    [gzip.compress(b" " * 50_000_000), gzip.compress(b"")[:-8] + b"\0\0\0\xff\xff" * 10**6],
    ids=["bomb", "empty blocks"],  # gzip writes the time into its head: no name that all test processes agree on
)
def test_a_token_that_grows_or_shrinks_without_an_end_is_none(body: bytes) -> None:
    token = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    server = RawServer(token)
    server._answers = (
        b'HTTP/1.1 401 X\r\nContent-Length: 0\r\nConnection: close\r\nWWW-Authenticate: Bearer realm="%s/token"\r\n\r\n'
        % server.url.encode(),
        token,
    )
    try:
        with pytest.raises(UpstreamError):
            connect(server.url).get_manifest(APP, Tag("latest"))
    finally:
        server.stop()


def test_the_digest_of_a_blob_is_of_its_bytes_as_they_come() -> None:
    data = gzip.compress(DATA)
    server = RawServer(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data))
    try:
        assert read_all(connect(server.url).open_blob(APP, Digest.of(data))) == data
    finally:
        server.stop()
