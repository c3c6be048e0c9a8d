"""What a process counts until it is written: bounded where the disk fails, and whole where the process ends."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_cache.runtime import event_queue
from registry_cache.stats import keeper as keeper_module
from registry_cache.stats import recorder as recorder_module
from registry_cache.stats.calendar import DAY_SECONDS
from registry_cache.stats.recorder import Recorder
from registry_cache.stats.tally import Tally
from registry_cache.store import atomic_write, disk
from registry_cache.store.layout import Layout
from tests.harness.pull_rig import SECONDS
from tests.harness.statistics_rig import NOON, StatisticsRig, answer
from tests.harness.store_rig import fail_at


@pytest.fixture
def rig(layout: Layout) -> Iterator[StatisticsRig]:
    event_queue.begin()
    yield StatisticsRig(layout)
    event_queue.end()


def recorder_of(rig: StatisticsRig) -> Recorder:
    return Recorder(rig.files, rig.keeper, Tally(journal=True, clients=True), sleep=lambda seconds: None)


def test_a_folder_that_cannot_be_read_makes_nothing_grow(rig: StatisticsRig, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = recorder_of(rig)
    monkeypatch.setattr(recorder_module, "_MOST_ENTRIES", 10)

    def refuse(folder: str) -> None:
        raise OSError(errno.EIO, "Input/output error", folder)

    with monkeypatch.context() as failing:
        failing.setattr(disk, "entries", refuse)
        for _ in range(50):
            event_queue.events.append(answer())
            recorder.look()
    assert recorder._tally.entry_count <= 10
    recorder.write()
    assert rig.statistics.sums(NOON - 300).requests == {"hit": 50}


def test_a_process_that_ends_while_it_folds_loses_nothing(rig: StatisticsRig, monkeypatch: pytest.MonkeyPatch) -> None:
    folding, gate = threading.Event(), threading.Event()

    def write(path: str, data: bytes, *, synced: bool = False) -> None:
        if "/days/" in path and not folding.is_set():
            folding.set()
            assert gate.wait(SECONDS)
        atomic_write.write_whole(path, data, synced=synced)

    monkeypatch.setattr(keeper_module, "write_whole", write)
    recorder = recorder_of(rig)
    event_queue.events.append(answer())
    thread = threading.Thread(target=recorder.run)
    thread.start()
    assert folding.wait(SECONDS)
    event_queue.events.append(answer())

    recorder.end(0.0)
    gate.set()
    thread.join(SECONDS)

    rig.fold_as_another()
    assert rig.statistics.sums(NOON - 300).requests == {"hit": 2}


def test_a_full_disk_over_midnight_loses_neither_day(rig: StatisticsRig, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = recorder_of(rig)
    with monkeypatch.context() as full:
        fail_at(full, "write", 1, errno.ENOSPC, Path(rig.files.folder))
        event_queue.events += [answer(NOON - DAY_SECONDS), answer()]
        recorder.look()
        recorder.write()
    recorder.write()
    assert rig.statistics.sums(NOON - 2 * DAY_SECONDS).requests == {"hit": 2}
