"""Who answers at a node's address and is none any more: no answer of theirs lasts, grows, or is more than a failure."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from registry_cache.errors import UpstreamUnavailable
from registry_cache.oci.manifest import MAX_MANIFEST_SIZE
from registry_cache.runtime import request_context
from registry_cache.runtime.peer_question import SharedQuestion
from registry_cache.upstream import peer
from registry_cache.upstream.network import wire
from registry_cache.upstream.peer import PeerFailed, PeerRefused, Peers, PeerSilent, ThingAtPeer
from tests.harness.near_rig import SEALS
from tests.harness.raw import Endless, RawServer

OK = b"HTTP/1.1 200 OK\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

PEERS = Peers("one", SEALS)
QUESTION = SharedQuestion("tag", "docker.io", "library/app", "1")
MANIFEST = ThingAtPeer("manifests", "docker.io", "library/app", "sha256:" + "a" * 64)
BLOB = ThingAtPeer("blobs", "docker.io", "library/app", "sha256:" + "a" * 64)

ASKS: list[Callable[[str], object]] = [
    lambda url: PEERS.ask(url, QUESTION),
    lambda url: PEERS.get_manifest(url, MANIFEST),
    lambda url: PEERS.open_blob(url, BLOB, 0),
    lambda url: PEERS.reaches(url, "two"),
]


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize(
    ("begin", "piece", "pause"),
    [
        (b"", CONTINUE * 100, 0.0),
        (OK, b"X: y\r\n" * 100, 0.0),
        (OK, b"X: y\r\n", 0.05),
    ],
    ids=["interim answers", "headers", "a header now and then"],
)
def test_a_head_without_an_end(
    ask: Callable[[str], object], begin: bytes, piece: bytes, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "HEAD_TIMEOUT_SECONDS", 0.3)
    server = Endless(begin, piece, pause)
    with pytest.raises((PeerFailed, PeerSilent)):
        ask(server.url)
    server.stop()


@pytest.mark.parametrize("ask", ASKS[:2])
@pytest.mark.parametrize(
    ("begin", "piece", "pause"),
    [
        (CHUNKED, b"1\r\nx\r\n" * 100, 0.0),
        (CHUNKED, b"1;" + b"x" * 5000 + b"\r\nx\r\n", 0.0),
        (OK + b"Content-Length: 1000000\r\n\r\n", b"x", 0.05),
    ],
    ids=["chunks of a byte", "extensions of chunks", "a byte now and then"],
)
def test_a_body_without_an_end(
    ask: Callable[[str], object], begin: bytes, piece: bytes, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "WHOLE_SECONDS", 0.3)
    server = Endless(begin, piece, pause)
    began = time.thread_time()
    with pytest.raises(PeerFailed):
        ask(server.url)
    assert time.thread_time() - began < 1
    server.stop()


def test_more_than_is_asked_for_is_not_read() -> None:
    server = Endless(OK + b"\r\n", b"x" * 65536)
    assert len(PEERS.get_manifest(server.url, MANIFEST)[0]) == MAX_MANIFEST_SIZE + 1
    assert PEERS.ask(server.url, QUESTION) is None
    server.stop()


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"HTTP/1.1 99999 x\r\n\r\n",
        b"HTTP/1.1 307 x\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
        OK + b"Content-Length: 5\r\n\r\nabc",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"-5\r\n",
        CHUNKED + b"f" * 30 + b"\r\nx",
    ],
)
def test_nonsense_is_a_failure(answer: bytes) -> None:
    server = RawServer(answer)
    for ask in ASKS[:2]:
        with pytest.raises((PeerFailed, PeerRefused)):
            ask(server.url)
    server.stop()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b"[" * 60_000, b"1" * 60_000])
def test_nonsense_about_a_third_node_is_told_as_that(body: bytes) -> None:
    server = RawServer(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert PEERS.reaches(server.url, "two") == "it answered nonsense"
    server.stop()


@pytest.mark.parametrize("length", [b"9" * 5000, b"-1", b"5_0", b"\xb2"])
def test_the_size_of_a_blob_that_makes_no_sense_is_none(length: bytes) -> None:
    server = RawServer(OK + b"Content-Length: " + length + b"\r\n\r\nbytes")
    body = PEERS.open_blob(server.url, BLOB, 0)
    assert body.size is None
    assert b"".join(body) in (b"bytes", b"")
    body.close()
    server.stop()


def test_a_blob_in_chunks_that_are_little_beside_their_lines() -> None:
    server = Endless(CHUNKED, b"1;" + b"x" * 5000 + b"\r\nx\r\n")
    body = PEERS.open_blob(server.url, BLOB, 0)
    with pytest.raises(UpstreamUnavailable):
        for _ in body:
            pass
    body.close()
    server.stop()


def test_a_peer_is_told_by_whom_a_request_came() -> None:
    server = RawServer(OK + b"Content-Length: 0\r\n\r\n")
    request_context.note_via("1.1 registry-cache-0123456789abcdef")
    PEERS.open_blob(server.url, BLOB, 0).close()
    request_context.note_via("")
    PEERS.open_blob(server.url, BLOB, 0).close()
    assert [b"Via: 1.1 registry-cache-0123456789abcdef\r\n" in each for each in server.requests] == [True, False]
    server.stop()
