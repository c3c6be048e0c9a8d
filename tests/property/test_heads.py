"""Any head of a response, in any pieces, is an answer or an error within its bounds; so is any Link or token."""

from __future__ import annotations

import http.client
import io
import time
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from hypothesis import example, given
from hypothesis import strategies as st

from registry_cache.errors import UpstreamError
from registry_cache.oci.json_object import parse_object
from registry_cache.upstream.body import inflater
from registry_cache.upstream.network.wire import MAX_HEAD_LINES, MAX_HEAD_SIZE, BoundedResponse
from registry_cache.upstream.tag_lists import following

# What a buffer may have read beyond the last line.
AHEAD = 2 * io.DEFAULT_BUFFER_SIZE
MOST_SECONDS = 5.0

LINES = st.sampled_from(
    [
        *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.1 103 Early Hints\r\n", b"HTTP/1.0 200\r\n"),
        *(
            b"HTTP/9.9 099 x\r\n",
            b"HTTP/1.1 -1 x\r\n",
            b"HTTP/1.1 999\r\n",
            b"HTTP/1.1\r\n",
            b"\r\n",
            b"\n",
            b"\r",
            b"\0",
        ),
        *(b"Content-Length: 5\r\n", b"Content-Length: -5\r\n", b"Content-Length: 99999999999999999999\r\n"),
        *(
            b"Transfer-Encoding: chunked\r\n",
            b"ffffffffffffffff\r\n",
            b"0\r\n",
            b"5;x=y\r\nhello\r\n",
            b"-5\r\n",
            b"zz\r\n",
        ),
        *(b" folded\r\n", b": no name\r\n", b"no colon\r\n", b"X: \xff\xfe\r\n", b"A: b\r\n" * 200, b"x" * 70_000),
    ]
)
PIECES = st.lists(LINES | st.binary(max_size=30), max_size=12)


class Wire(io.RawIOBase):
    """A connection that gives ``data`` in pieces of ``size`` bytes; counts what was taken."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data = io.BytesIO(data)
        self._size = size
        self.taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._data.read(min(self._size, len(buffer)))
        buffer[: len(piece)] = piece
        self.taken += len(piece)
        return len(piece)

    def makefile(self, *_: object, **__: object) -> Wire:
        return self


@given(PIECES, st.integers(1, 9000))
@example([b"HTTP/1.1 100 Continue\r\n\r\n"] * 12, 1)
@example([b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 200], 8192)
@example([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n" * 200], 8192)
@example([b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"], 1)
@example([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\n"], 1)
def test_any_head_is_an_answer_or_an_error_within_its_bounds(pieces: list[bytes], size: int) -> None:
    wire = Wire(b"".join(pieces), size)
    response = BoundedResponse(wire)  # type: ignore[arg-type]
    began = time.monotonic()
    try:
        response.begin()
        assert not 100 <= response.status < 200
        assert wire.taken <= MAX_HEAD_SIZE + AHEAD
        response.read()
    except (http.client.HTTPException, OSError, ValueError):
        # The last of them is what http.client says of a chunk's length that is none.
        pass
    assert time.monotonic() - began < MOST_SECONDS


@given(st.integers(1, 5), st.integers(MAX_HEAD_LINES, MAX_HEAD_LINES * 20))
def test_no_number_of_interim_answers_is_read_to_its_end(size: int, count: int) -> None:
    wire = Wire(b"HTTP/1.1 100 Continue\r\n\r\n" * count, size * 1000)
    response = BoundedResponse(wire)  # type: ignore[arg-type]
    try:
        response.begin()
    except http.client.HTTPException:
        assert wire.taken <= MAX_HEAD_SIZE + AHEAD
    else:
        raise AssertionError("took an interim answer for the answer")


@given(st.text(max_size=200) | st.from_regex(r"\A(<[^>]{0,40}>(; ?[a-z]+=\"?[a-z]{0,8}\"?){0,3},? ?){0,4}\Z"))
@example('<http://169.254.169.254/v2/x/tags/list?last=a>; rel="next"')
@example("<" * 5000)
@example('<x?a=b\r\nX: y>; rel="next"')
def test_any_link_leads_to_a_query_of_the_same_list_or_nowhere(link: str) -> None:
    response = requests.Response()
    response.raw = urllib3.HTTPResponse(headers={"Link": link})
    response.url = "http://registry/v2/x/tags/list"
    began = time.monotonic()
    try:
        page = following(response, "tags", "list")
    except UpstreamError:
        page = None
    if page:
        for part in (page.tail, page.query):
            assert part.isascii()
            assert part.isprintable()
            assert not set(part) & set(" #\\")
        url = urlsplit(f"http://registry/v2/x/tags/{page.tail}?{page.query}")
        assert (url.hostname, ".." in url.path.split("/")) == ("registry", False)
    assert time.monotonic() - began < MOST_SECONDS


@given(
    st.binary(max_size=300), st.sampled_from(["gzip", "x-gzip", "deflate", "br", "", "gzip, gzip"]), st.integers(1, 50)
)
def test_any_encoded_body_grows_to_its_bound_at_most(data: bytes, encoding: str, most: int) -> None:
    try:
        inflate = inflater(encoding)
        assert inflate is None or len(inflate(data, most)) <= most
    except UpstreamError:
        pass


@given(st.binary(max_size=300))
@example(b'{"token":' * 50_000)
@example(b"[" * 100_000)
@example(b'{"expires_in": 1' + b"0" * 5000 + b"}")
def test_any_token_answer_is_an_object_or_nothing(data: bytes) -> None:
    assert parse_object(data) is None or isinstance(parse_object(data), dict)
