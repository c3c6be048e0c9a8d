"""How much one read asks for."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from registry_cache.upstream.read_size import MAX_READ, MIN_READ, SHARED_BUDGET, ReadSize


@pytest.fixture
def read_size() -> Iterator[ReadSize]:
    # What other tests have left open has its share as long as it is there.
    gc.collect()
    read_size = ReadSize()
    yield read_size
    read_size.close()


def test_begins_small(read_size: ReadSize) -> None:
    assert read_size.size == MIN_READ


def test_a_fast_upstream_is_read_in_large_read_sizes(read_size: ReadSize) -> None:
    reads = 0
    while read_size.size < MAX_READ:
        read_size.record(read_size.size)
        reads += 1

    read_size.record(read_size.size)

    assert read_size.size == MAX_READ
    assert reads == 5


def test_a_slow_upstream_is_read_in_small_read_sizes(read_size: ReadSize) -> None:
    read_size.record(MAX_READ)
    for _ in range(10):
        read_size.record(1000)

    assert read_size.size == MIN_READ


def test_one_short_read_of_a_fast_upstream_halves_it_at_most(read_size: ReadSize) -> None:
    read_size.record(MAX_READ)
    read_size.record(1)

    assert read_size.size == MAX_READ // 2


def test_many_bodies_share_what_one_could_have(read_size: ReadSize) -> None:
    others = [ReadSize() for _ in range(15)]
    for each in (read_size, *others):
        each.record(MAX_READ)

    assert read_size.size + sum(other.size for other in others) <= SHARED_BUDGET

    for other in others:
        other.close()
    read_size.record(MAX_READ)

    assert read_size.size == MAX_READ
