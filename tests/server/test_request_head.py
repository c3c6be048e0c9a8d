"""A client's head is read once, however many pieces it comes in, and refused as soon as it can be."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_cache.server import request_head
from registry_cache.server.request_head import (
    LONGEST_LINE,
    MAX_HEAD_SIZE,
    BadHead,
    HeadTooLarge,
    LineTooLong,
    LoneFeed,
    RangeTooLong,
    RequestHead,
    read_head,
)

HEAD = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"

# As long as one may be, in a head that has more.
LONG_RANGE = b"GET / HTTP/1.1\r\nRange: bytes=" + b"1-2," * 2043 + b"3-4\r\nX: " + b"a" * 4000 + b"\r\n\r\n"


def pieces_of(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def read(data: bytes, size: int) -> bytes | type[BadHead]:
    """What comes of ``data`` in pieces of ``size`` bytes, and then the end."""
    pieces = iter(pieces_of(data, size))
    try:
        return read_head(b"", lambda: next(pieces, b""), nullcontext, nullcontext)
    except BadHead as refused:
        return type(refused)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (HEAD, HEAD),
        (b"\r\n" + HEAD, b"\r\n" + HEAD),
        (b"GET /v2/", b"GET /v2/"),
        (b"", b""),
        (b"GET /v2/ HTTP/1.1\nHost: x\n\n", LoneFeed),
        (b"\nGET /v2/", LoneFeed),
        (b"GET /v2/ HTTP/1.1\r\nX: a\nHost: x", LoneFeed),
        (b"GET /" + b"a" * LONGEST_LINE, LineTooLong),
        (b"\r\nGET /" + b"a" * LONGEST_LINE, LineTooLong),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD_SIZE, HeadTooLarge),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * MAX_HEAD_SIZE, HeadTooLarge),
        (b"GET / HTTP/1.1\r\nrange: bytes=" + b"1-2," * 2048 + b"\r\n\r\n", RangeTooLong),
        (b"GET / HTTP/1.1\r\nRange: bytes=" + b"1-2," * MAX_HEAD_SIZE, RangeTooLong),
        (LONG_RANGE, LONG_RANGE),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8192])
def test_what_comes_of_a_head(data: bytes, expected: bytes | type[BadHead], size: int) -> None:
    assert read(data, size) == expected


def test_what_has_come_of_the_next_head_is_gone_on_with() -> None:
    """It may end in the middle of the end of the head."""
    rest = iter([b"\n"])
    assert read_head(HEAD[:-1], lambda: next(rest), nullcontext, nullcontext) == HEAD


def test_nothing_is_waited_for_where_the_head_is_here() -> None:
    def receive() -> bytes:
        raise AssertionError("waited for more")

    assert read_head(HEAD + HEAD, receive, nullcontext, nullcontext) == HEAD + HEAD


@given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"GET / HTTP/1.1", b"a: b", b"x"])), st.integers(1, 7))
def test_no_cut_of_a_head_changes_whether_it_is_taken(words: list[bytes], size: int) -> None:
    """Read at once, one that is taken may have a lone LF, which the parser finds."""
    data = b"".join(words)
    whole, cut = read(data, max(1, len(data))), read(data, size)
    if isinstance(cut, bytes):
        assert isinstance(whole, bytes)
        assert data.startswith(cut)
    elif isinstance(whole, bytes):
        assert b"\n" in whole.replace(b"\r\n", b"")


class Counted(bytearray):
    """Counts the bytes that are searched."""

    searched = 0

    def find(self, sought: object, start: int = 0, *more: int) -> int:  # type: ignore[override]
        Counted.searched += len(self) - start
        return super().find(sought, start, *more)  # type: ignore[arg-type]


def test_a_head_that_drips_in_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_head, "bytearray", Counted, raising=False)
    head = RequestHead()
    for piece in pieces_of(b"GET / HTTP/1.1\r\nX: " + b"a" * 10_000, 1):
        head.add(piece)
    assert 0 < Counted.searched < 10 * len(head.data())
