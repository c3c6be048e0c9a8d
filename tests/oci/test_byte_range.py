"""``Range`` as clients send it, ``Content-Range`` as upstreams do."""

from __future__ import annotations

import pytest

from registry_cache.errors import RangeNotSatisfiable
from registry_cache.oci.byte_range import ByteRange, parse_content_range, parse_range, parse_unsatisfied


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        ("bytes=0-0", 10, "bytes 0-0/10"),
        ("bytes=0-", 10, "bytes 0-9/10"),
        ("bytes=3-", 10, "bytes 3-9/10"),
        ("bytes=9-", 10, "bytes 9-9/10"),
        ("bytes=2-5", 10, "bytes 2-5/10"),
        ("bytes=2-9", 10, "bytes 2-9/10"),
        ("bytes=2-10", 10, "bytes 2-9/10"),
        ("bytes=-3", 10, "bytes 7-9/10"),
        ("bytes=-10", 10, "bytes 0-9/10"),
        ("bytes=-11", 10, "bytes 0-9/10"),
        ("bytes=007-008", 10, "bytes 7-8/10"),
        ("Bytes=1-2", 10, "bytes 1-2/10"),
        ("bytes = 1-2 ", 10, "bytes 1-2/10"),
        # "To the end", as some clients write it.
        ("bytes=4-9223372036854775807", 10, "bytes 4-9/10"),
        ("bytes=4-18446744073709551615", 10, "bytes 4-9/10"),
        ("bytes=-18446744073709551615", 10, "bytes 0-9/10"),
        ("bytes=5000000000-", 6_000_000_000, "bytes 5000000000-5999999999/6000000000"),
    ],
)
def test_a_part(header: str, size: int, expected: str) -> None:
    part = parse_range(header, size)
    assert str(part) == expected
    assert part is not None
    assert part.size == size


@pytest.mark.parametrize(
    "header",
    [
        *(None, "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=1", "bytes=--5"),
        *("bytes=+1-2", "bytes=1 -2", "bytes=1-2,4-5", "bytes=0-0,-1", "bytes=1-2,", "bytes=1.0-2.0", "bytes=0x1-0x2"),
        *("bytes=1_0-2_0", "bytes=\N{ARABIC-INDIC DIGIT ONE}-", "bytes=1-2\n", "lines=1-2", "1-2", "bytes 1-2/10"),
        pytest.param("bytes=" + "9" * 1_000_000 + "-", id="1 MB"),
    ],
)
def test_the_whole_where_it_is_no_range_of_ours(header: str | None) -> None:
    assert parse_range(header, 10) is None


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("bytes=10-", 10),
        ("bytes=10-12", 10),
        ("bytes=18446744073709551615-", 10),
        ("bytes=-0", 10),
        ("bytes=0-", 0),
        ("bytes=-5", 0),
        ("bytes=5-2", 10),
        ("bytes=500-0", 10),
        ("bytes=20-15", 10),
        ("bytes=1-0", 0),
    ],
)
def test_a_range_behind_the_end_or_backwards_tells_the_size(header: str, size: int) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        parse_range(header, size)
    assert caught.value.size == size
    assert caught.value.status == 416


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes 0-9/10", (0, 10, 10)),
        ("bytes 3-9/10", (3, 10, 10)),
        ("bytes 3-5/10", (3, 6, 10)),
        ("bytes 0-0/1", (0, 1, 1)),
        ("bytes 3-9/*", (3, 10, None)),
        ("Bytes 3-9/10", (3, 10, 10)),
        (" bytes 3-9/10 ", (3, 10, 10)),
        (None, None),
        ("", None),
        ("bytes", None),
        ("bytes */10", None),
        ("bytes 3-/10", None),
        ("bytes -3/10", None),
        ("bytes 3-9", None),
        ("bytes 3-9/", None),
        ("bytes=3-9/10", None),
        ("bytes 9-3/10", None),
        ("lines 3-9/10", None),
        ("bytes 3-9/10, bytes 3-9/10", None),
        # RFC 9110 §14.4: a last byte behind the end is invalid, and must not be appended to anything.
        ("bytes 0-10/10", None),
        ("bytes 0-0/0", None),
        pytest.param("bytes " + "9" * 1_000_000 + "-9/10", None, id="1 MB"),
    ],
)
def test_content_range(header: str | None, expected: tuple[int, int, int | None] | None) -> None:
    assert parse_content_range(header) == expected


def test_what_is_written_as_a_content_range_reads_back() -> None:
    assert parse_content_range(str(ByteRange(3, 10, 10))) == (3, 10, 10)


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("bytes */77", 77),
        ("Bytes */0", 0),
        ("bytes 0-9/77", None),
        ("bytes */*", None),
        ("bytes */-1", None),
        (None, None),
    ],
)
def test_the_size_that_a_416_tells(header: str | None, size: int | None) -> None:
    assert parse_unsatisfied(header) == size
