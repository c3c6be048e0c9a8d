"""Lists of pins that several nodes change and merge: whatever the order, all end with the same, and no pin is lost."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from registry_cache.oci.pattern import ImagePattern
from registry_cache.store.pin_list import UNPINNED_SECONDS, Pin, PinList, parse_pins
from tests.harness.store_rig import HUB

IMAGES = [ImagePattern.parse(name) for name in ("a:1", "b:*")]


def pin(number: int, at: float) -> Pin:
    return Pin(HUB, IMAGES[number], at)


@st.composite
def lists(draw: st.DrawFn) -> PinList:
    words = draw(
        st.lists(st.tuples(st.booleans(), st.integers(0, 1), st.floats(0, 9)), max_size=2, unique_by=lambda w: w[1])
    )
    pins = sorted((pin(number, at) for is_pin, number, at in words if is_pin), key=lambda each: each.pinned_at)
    return PinList(pins, [pin(number, at) for is_pin, number, at in words if not is_pin])


def said(pins: PinList) -> set[tuple[str, Pin]]:
    return {("pinned", each) for each in pins.pins} | {("unpinned", each) for each in pins.unpinned}


@given(lists(), lists(), lists())
def test_the_order_in_which_nodes_learn_does_not_matter(one: PinList, two: PinList, three: PinList) -> None:
    merged = one.merged(two).merged(three)
    assert said(merged) == said(three.merged(one).merged(two)) == said(one.merged(two.merged(three)))
    assert said(merged.merged(one)) == said(merged)
    assert merged.knows(one)
    assert merged.knows(two)
    assert one.knows(one)
    assert one.knows(two) == (said(one.merged(two)) == said(one))
    assert said(parse_pins(merged.document())) == said(merged)


@given(lists(), lists(), st.floats(-600, 600), st.integers(0, 1))
def test_what_is_changed_last_on_a_node_holds_whatever_its_clock_says(
    mine: PinList, theirs: PinList, now: float, number: int
) -> None:
    known = mine.merged(theirs)
    pinned, _ = known.with_pins([pin(number, now)])
    assert pin(number, 0).key in {each.key for each in pinned.merged(theirs).merged(mine).pins}
    unpinned, gone = pinned.without_pins({pin(number, 0).key}, now)
    assert [each.key for each in gone] == [pin(number, 0).key]
    assert pin(number, 0).key not in {each.key for each in unpinned.merged(theirs).merged(mine).pins}


def test_of_a_pin_and_its_end_at_the_same_moment_the_pin_holds() -> None:
    pinned, gone = PinList([pin(0, 1.0)]), PinList([], [pin(0, 1.0)])
    assert pinned.merged(gone).pins == gone.merged(pinned).pins == [pin(0, 1.0)]


def test_what_was_unpinned_long_ago_is_forgotten() -> None:
    gone = PinList([], [pin(0, 1.0)])
    assert gone.without_old(UNPINNED_SECONDS).unpinned == [pin(0, 1.0)]
    assert gone.without_old(UNPINNED_SECONDS + 2).unpinned == []
    assert [replace(each, pinned_at=0) for each in gone.unpinned] == [pin(0, 0)]
