"""What the disk refuses is said once."""

from __future__ import annotations

import errno
import time

import pytest

from registry_cache.store import disk_errors as module
from registry_cache.store.disk_errors import DiskErrorLog
from tests.harness.pull_rig import Clock


class Said:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def error(self, event: str, **fields: object) -> None:
        self.lines.append(f"{event}: {fields['error']}")

    def info(self, event: str, **fields: object) -> None:
        self.lines.append(event)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    said = Said()
    monkeypatch.setattr(module, "_log", said)
    return said


def test_a_thousand_refusals_are_one_line(said: Said) -> None:
    trouble = DiskErrorLog()
    trouble.note_success()
    for _ in range(1000):
        trouble.note("write", OSError(errno.ENOSPC, "No space"))
    trouble.note("write", OSError(errno.EIO, "broken"))
    assert said.lines == ["the disk refuses: No space", "the disk refuses: broken"]
    trouble.note_success()
    trouble.note_success()
    assert said.lines[2:] == ["the disk takes blobs again"]


def test_a_disk_that_takes_one_blob_and_refuses_the_next_is_two_lines_a_minute(
    said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    trouble = DiskErrorLog()
    for second in range(121):
        clock.now = 1000.0 + second
        trouble.note("write", OSError(errno.ENOSPC, "No space"))
        trouble.note_success()
    assert said.lines == ["the disk refuses: No space", "the disk takes blobs again"] * 3


def test_what_goes_on_is_said_again(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    trouble = DiskErrorLog()
    for passed in (0.0, 59.0, 2.0):
        clock.now += passed
        trouble.note("write", OSError(errno.ENOSPC, "No space"))
    assert len(said.lines) == 2
