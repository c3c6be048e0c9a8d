"""A worker streams to so many readers and no more, and the more there are, the less each may hold."""

from __future__ import annotations

import pytest

from registry_cache.errors import Busy
from registry_cache.pull.reader_slots import LARGEST_CHUNK, READ_BUDGET, SMALLEST_CHUNK, ReaderSlots


def test_a_slot_is_refused_until_another_is_given_back() -> None:
    slots = ReaderSlots(1)
    slots.take()
    with pytest.raises(Busy):
        slots.take()
    slots.give_back()
    slots.take()


@pytest.mark.parametrize(("readers", "size"), [(0, LARGEST_CHUNK), (1, LARGEST_CHUNK), (5000, SMALLEST_CHUNK)])
def test_chunks_shrink_with_the_number_of_readers(readers: int, size: int) -> None:
    slots = ReaderSlots(readers)
    for _ in range(readers):
        slots.take()
    assert slots.chunk_size() == size
    assert slots.chunk_size() * readers <= max(READ_BUDGET, SMALLEST_CHUNK * readers)
    for _ in range(readers):
        slots.give_back()
