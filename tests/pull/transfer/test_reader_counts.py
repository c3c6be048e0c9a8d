"""How many readers a process has: written once a second while there are downloads, and taken back after the last."""

from __future__ import annotations

import queue
from collections.abc import Mapping

from registry_cache.pull.transfer.reader_counts import ReaderCounts

SECONDS = 20.0


class _Written:
    """A note, and what became of it."""

    def __init__(self) -> None:
        self.said: queue.Queue[Mapping[str, int] | None] = queue.Queue()

    def write(self, readers: Mapping[str, int]) -> None:
        self.said.put(dict(readers))
        if not readers.get("a"):
            raise OSError("the disk is full")

    def remove(self) -> None:
        self.said.put(None)


def test_a_note_a_second_while_there_are_downloads() -> None:
    note, readers, seconds = _Written(), {"a": 1}, queue.Queue[None]()
    counts = ReaderCounts(note, lambda: readers, lambda _: seconds.get(timeout=SECONDS))

    def pass_second() -> Mapping[str, int] | None:
        seconds.put(None)
        return note.said.get(timeout=SECONDS)

    counts.begin()
    counts.begin()
    assert pass_second() == {"a": 1}
    readers["a"] = 3
    assert pass_second() == {"a": 3}
    # What the disk does not take now, it may take a second later.
    readers["a"] = 0
    assert pass_second() == {"a": 0}
    readers["a"] = 2
    assert pass_second() == {"a": 2}
    readers.clear()
    assert pass_second() is None

    # The next download begins anew, by one thread.
    readers["a"] = 1
    counts.begin()
    assert pass_second() == {"a": 1}
    readers.clear()
    assert pass_second() is None
    assert note.said.empty()
