"""The ledger: about how much is stored, by whoever stores it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from registry_cache.store.layout import Layout
from registry_cache.store.size_ledger import SizeLedger


def test_nobody_has_counted(layout: Layout) -> None:
    ledger = SizeLedger(layout)
    ledger.add(5)
    assert ledger.total() is None
    assert not os.path.exists(layout.ledger)


def test_all_workers_add_to_one_sum(layout: Layout) -> None:
    one, other = SizeLedger(layout), SizeLedger(layout)
    one.replace(100, one.position())
    assert (one.total(), other.total()) == (100, 100)
    one.add(10)
    other.add(-3)
    assert (one.total(), other.total()) == (107, 107)


def test_what_came_while_somebody_counted_stays(layout: Layout) -> None:
    counting, worker = SizeLedger(layout), SizeLedger(layout)
    counting.replace(100, 0)
    worker.add(1)
    since = counting.position()
    worker.add(20)
    counting.replace(50, since)
    assert (worker.total(), counting.total()) == (70, 70)


def test_what_is_added_while_the_disk_writes_stays(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for the disk is as long as the disk is busy, and a size that is too small is held to nothing."""
    ledger, worker, fsync = SizeLedger(layout), SizeLedger(layout), os.fsync

    waits: list[int] = []

    def slowly(descriptor: int) -> None:
        waits.append(descriptor)
        worker.add(7)
        fsync(descriptor)

    ledger.replace(50, 0)
    monkeypatch.setattr(os, "fsync", slowly)
    ledger.replace(100, ledger.position())
    assert waits
    assert worker.total() == 100 + 7 * len(waits)


@pytest.mark.parametrize("left", [b"", bytes(16), bytes(8), b"12345678", b"123"])
def test_what_a_power_cut_has_emptied_was_not_counted(layout: Layout, left: bytes) -> None:
    Path(layout.ledger).write_bytes(left)
    ledger = SizeLedger(layout)
    for _ in range(3):
        ledger.add(5)
        assert ledger.total() is None
    ledger.replace(100, ledger.position())
    assert ledger.total() == 100


def test_a_torn_entry_is_not_counted(layout: Layout) -> None:
    ledger = SizeLedger(layout)
    ledger.replace(100, 0)
    with open(layout.ledger, "ab") as file:
        file.write(b"abc")
    assert ledger.total() == 100


def test_a_disk_that_takes_no_note(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = SizeLedger(layout)
    ledger.replace(100, 0)

    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    ledger.add(5)
    ledger.replace(7, 0)
    assert ledger.total() == 100
