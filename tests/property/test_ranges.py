"""Any ``Range`` picks the bytes that a walk over every byte would pick; any header at all is answered or refused."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from registry_cache.errors import RangeNotSatisfiable
from registry_cache.oci.byte_range import ByteRange, parse_content_range, parse_range

HUGE = 2**64
offsets = st.one_of(st.integers(0, 40), st.integers(0, 40), st.integers(0, HUGE))
sizes = st.integers(0, 40)
garbage = st.one_of(st.text(max_size=60), st.text("bytes=-0123456789, */", max_size=40).map("bytes".__add__))


def picked(header: str, size: int) -> list[int] | None:
    """Return which of ``size`` bytes ``header`` picks; None where it is refused."""
    try:
        part = parse_range(header, size)
    except RangeNotSatisfiable as refused:
        return None if refused.size == size else []
    assert part is not None
    assert part.size == size
    return list(range(part.start, part.stop))


@given(offsets, offsets, sizes)
@settings(max_examples=300)
def test_first_and_last(first: int, last: int, size: int) -> None:
    header = f"bytes={first}-{last}"
    if last < first:
        assert picked(header, size) is None
    else:
        assert picked(header, size) == ([at for at in range(size) if first <= at <= last] or None)


@given(offsets, sizes)
def test_first_to_the_end(first: int, size: int) -> None:
    assert picked(f"bytes={first}-", size) == ([at for at in range(size) if first <= at] or None)


@given(offsets, sizes)
def test_the_last_bytes(count: int, size: int) -> None:
    assert picked(f"bytes=-{count}", size) == ([at for at in range(size) if size - at <= count] or None)


@given(garbage, st.integers(0, HUGE))
@example("bytes=" + "9" * 5000 + "-", 10)
@example("bytes=-" + "9" * 5000, 10)
@settings(max_examples=300)
def test_any_header_is_a_part_the_whole_or_behind_the_end(header: str, size: int) -> None:
    try:
        part = parse_range(header, size)
    except RangeNotSatisfiable:
        return
    assert part is None or 0 <= part.start < part.stop <= part.size == size


@given(st.data(), st.integers(1, HUGE // 1000))
def test_what_a_206_says_reads_back(data: st.DataObject, size: int) -> None:
    start = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(start + 1, size))
    part = ByteRange(start, stop, size)
    if size < 10**18:
        assert parse_content_range(str(part)) == (start, stop, size)
        assert parse_content_range(f"bytes {start}-{stop - 1}/*") == (start, stop, None)


@given(st.one_of(garbage, st.text("0123456789-/*", max_size=30).map("bytes ".__add__)))
@example("bytes " + "9" * 5000 + "-1/2")
@settings(max_examples=300)
def test_any_content_range_is_read_or_passed_over(header: str) -> None:
    found = parse_content_range(header)
    if found:
        start, stop, size = found
        assert 0 <= start < stop
        assert size is None or stop <= size
