"""How much one read asks for."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from registry_cache.upstream.read_size import LEAST, MOST, TOGETHER, Portion


@pytest.fixture
def portion() -> Iterator[Portion]:
    # What other tests have left open has its share as long as it is there.
    gc.collect()
    portion = Portion()
    yield portion
    portion.close()


def test_begins_small(portion: Portion) -> None:
    assert portion.size == LEAST


def test_a_fast_upstream_is_read_in_large_portions(portion: Portion) -> None:
    reads = 0
    while portion.size < MOST:
        portion.brought(portion.size)
        reads += 1

    portion.brought(portion.size)

    assert portion.size == MOST
    assert reads == 5


def test_a_slow_upstream_is_read_in_small_portions(portion: Portion) -> None:
    portion.brought(MOST)
    for _ in range(10):
        portion.brought(1000)

    assert portion.size == LEAST


def test_one_short_read_of_a_fast_upstream_halves_it_at_most(portion: Portion) -> None:
    portion.brought(MOST)
    portion.brought(1)

    assert portion.size == MOST // 2


def test_many_bodies_share_what_one_could_have(portion: Portion) -> None:
    others = [Portion() for _ in range(15)]
    for each in (portion, *others):
        each.brought(MOST)

    assert portion.size + sum(other.size for other in others) <= TOGETHER

    for other in others:
        other.close()
    portion.brought(MOST)

    assert portion.size == MOST
