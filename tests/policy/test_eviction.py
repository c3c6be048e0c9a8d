"""What goes, and how far: decisions over facts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_cache.policy.eviction import (
    AHEAD,
    HOUR,
    LOW_MARK,
    NOTHING,
    SECOND,
    SETTLE,
    Bounds,
    Mark,
    boundary,
    emergency,
    excess,
    expired,
    in_order,
    largest_blob,
    must_split,
    newest,
    spare_recent,
)

NOW = 1_800_000_000 * SECOND
DAY = 86_400 * SECOND


@pytest.mark.parametrize(
    ("stored", "free", "bounds", "expected"),
    [
        (10**9, 0, Bounds(), 0),
        (1000, 0, Bounds(max_size=1000), 0),
        (1001, 0, Bounds(max_size=1000), 51),  # down to the low mark, not to the bound
        (0, 100, Bounds(min_free=100), 0),
        (0, 94, Bounds(min_free=95), 6),
        (1001, 0, Bounds(max_size=1000, min_free=95), 100),
        (2000, 90, Bounds(max_size=1000, min_free=95), 1050),
    ],
)
def test_what_is_too_much(stored: int, free: int, bounds: Bounds, expected: int) -> None:
    assert excess(stored, free, bounds) == expected


@pytest.mark.parametrize(
    ("ttl", "expected"),
    [
        (None, NOTHING),
        (timedelta(days=1), Mark(NOW - DAY)),
        (timedelta(seconds=1), Mark(NOW - SETTLE)),  # what was used a moment ago stays whatever the bound
    ],
)
def test_how_far_the_ttl_goes(ttl: timedelta | None, expected: Mark) -> None:
    assert expired(NOW, Bounds(ttl=ttl)) == expected


def test_what_a_mark_covers() -> None:
    whole, part = Mark(100), Mark.within(100, "7f")

    assert [whole.covers(used, "ff") for used in (-1, 99, 100, 101)] == [True, True, True, False]
    assert [part.covers(100, hex) for hex in ("00", "7f", "7fff", "80")] == [True, True, True, False]
    assert part.covers(99, "ff")
    assert not part.covers(101, "00")
    assert not NOTHING.covers(-1, "00")
    assert NOTHING < Mark(0) < part < whole < Mark(101)


def test_what_is_being_used_is_spared() -> None:
    assert spare_recent(Mark(NOW), NOW) == Mark(NOW - SETTLE)
    assert spare_recent(Mark(NOW - DAY), NOW) == Mark(NOW - DAY)
    assert spare_recent(NOTHING, NOW) == NOTHING


@pytest.mark.parametrize(
    ("sizes", "need", "expected"),
    [
        ({}, 1, None),
        ({5: 10}, 10, (5, 10)),
        ({5: 10}, 11, None),
        ({5: 10, 3: 2}, 1, (3, 1)),
        ({5: 10, 3: 2}, 2, (3, 2)),
        ({5: 10, 3: 2}, 3, (5, 1)),
        ({5: 10, 3: 0}, 1, (5, 1)),
    ],
)
def test_where_the_oldest_bytes_end(sizes: dict[int, int], need: int, expected: tuple[int, int] | None) -> None:
    assert boundary(sizes, need) == expected


@given(st.dictionaries(st.integers(), st.integers(0, 1000)), st.integers(1, 5000))
def test_any_sizes_have_one_boundary(sizes: dict[int, int], need: int) -> None:
    found = boundary(sizes, need)

    if found is None:
        assert sum(sizes.values()) < need
    else:
        key, rest = found
        before = sum(size for each, size in sizes.items() if each < key)
        assert before < need <= before + sizes[key]
        assert rest == need - before


def test_an_image_goes_together_and_a_copied_store_does_not() -> None:
    assert not must_split(group=100, need=100, stored=1000)
    assert not must_split(group=600, need=100, stored=1000)
    assert must_split(group=1000, need=100, stored=1000)


@given(st.integers(0, 10**15), st.integers(0, 10**15), st.integers(1, 10**15), st.integers(1, 10**15))
def test_what_is_left_is_within_the_bounds(stored: int, free: int, max_size: int, min_free: int) -> None:
    bounds = Bounds(max_size=max_size, min_free=min_free)
    need = excess(stored, free, bounds)

    assert excess(stored - need, free + need, bounds) == 0
    assert need == 0 or stored > max_size or free < min_free
    assert need <= max(stored, min_free / LOW_MARK)


@pytest.mark.parametrize(
    ("stored", "free", "bounds", "expected"),
    [
        (0, 0, Bounds(), None),
        (900, 5, Bounds(max_size=1000), 500),
        (None, 5, Bounds(max_size=1000, blob_percent=100), 1000),  # nobody has counted yet
        (900, 200, Bounds(min_free=100), 500),
        (None, 200, Bounds(min_free=100), None),
        (900, 10, Bounds(min_free=1000, blob_percent=1), 0),
        (100, 100, Bounds(max_size=1000, min_free=100), 50),
    ],
)
def test_how_much_one_blob_may_take(stored: int | None, free: int, bounds: Bounds, expected: int | None) -> None:
    assert largest_blob(stored, free, bounds) == expected


def test_on_a_full_disk_one_blob_frees_no_more_than_its_share() -> None:
    assert emergency(100, 900, 100, 1000, blob_percent=10) == 150
    assert emergency(101, 900, 100, 1000, blob_percent=10) == 50


@pytest.mark.parametrize(("size", "expected"), [(0, ""), (9, ""), (10, "c"), (35, "cb"), (39, "cb"), (50, "cba")])
def test_what_fits_of_what_was_used_last(size: int, expected: str) -> None:
    assert newest([(1, 15, "a"), (2, 25, "b"), (3, 10, "c"), (9, 100, "d")], size) == set(expected)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 100), st.integers())), st.integers(0, 1000))
def test_no_more_is_reserved_than_was_asked_for(blobs: list[tuple[int, int, int]], size: int) -> None:
    distinct = {key: (used, bytes_, key) for used, bytes_, key in blobs}
    assert sum(distinct[key][1] for key in newest(distinct.values(), size)) <= size


def test_what_was_used_far_ahead_was_used_before_all_else() -> None:
    uses = [-1, NOW - HOUR, NOW, NOW + AHEAD, NOW + AHEAD + 1, NOW + 9 * AHEAD]
    assert sorted(uses, key=lambda used: in_order(used, NOW)) == [*uses[4:], *uses[:4]]
