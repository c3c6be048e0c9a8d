"""Whatever is counted in whatever order, a top list's bounds hold."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from registry_cache.stats.space_saving import SpaceSaving, TopEntry, merged

# Few names, so that most of them come back after they were dropped.
NAMES = st.sampled_from([f"image-{number}" for number in range(12)])
COUNTED = st.lists(st.tuples(NAMES, st.integers(min_value=0, max_value=50)), max_size=200)
CAPACITY = st.integers(min_value=1, max_value=12)


def counted(items: list[tuple[str, int]], capacity: int) -> tuple[SpaceSaving, Counter[str]]:
    sketch, truth = SpaceSaving(capacity), Counter[str]()
    for name, amount in items:
        sketch.add(name, amount)
        truth[name] += amount
    return sketch, truth


def assert_bounds(entries: list[TopEntry], floor: int, truth: Counter[str]) -> None:
    known = {each.name: each for each in entries}
    for each in entries:
        assert each.at_least <= truth[each.name] <= each.at_most
    for name, amount in truth.items():
        assert name in known or amount <= floor


@given(COUNTED, CAPACITY)
def test_the_bounds_of_one_list(items: list[tuple[str, int]], capacity: int) -> None:
    sketch, truth = counted(items, capacity)
    entries, total = sketch.entries(), sum(truth.values())
    assert len(entries) <= capacity
    assert_bounds(entries, sketch.floor, truth)
    # The bound that the document proves: all that can be wrong is a part of the total.
    assert sketch.floor * capacity <= total
    assert all(each.at_most - each.at_least <= total / capacity for each in entries)
    assert sum(each.at_most for each in entries) <= total
    assert {name for name, amount in truth.items() if amount > total / capacity} <= {each.name for each in entries}


@given(COUNTED, COUNTED, CAPACITY)
def test_counting_goes_on_from_what_was_written(
    before: list[tuple[str, int]], after: list[tuple[str, int]], capacity: int
) -> None:
    sketch, truth = counted(before, capacity)
    again = SpaceSaving.of(capacity, sketch.entries(), sketch.floor)
    for name, amount in after:
        again.add(name, amount)
        truth[name] += amount
    assert_bounds(again.entries(), again.floor, truth)


@given(COUNTED, COUNTED, CAPACITY, CAPACITY)
def test_the_bounds_of_several_days(
    one: list[tuple[str, int]], other: list[tuple[str, int]], capacity: int, kept: int
) -> None:
    lists, truth = [], Counter[str]()
    for items in (one, other):
        sketch, amounts = counted(items, capacity)
        truth += amounts
        entries = sketch.entries()
        # As a day's end keeps them: what is dropped had at most the floor.
        lists.append((entries[:kept], max([sketch.floor, *(each.at_most for each in entries[kept:])])))
    assert_bounds(merged(lists), sum(floor for _, floor in lists), truth)
