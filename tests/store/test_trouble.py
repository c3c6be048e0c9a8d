"""What the disk refuses is said once."""

from __future__ import annotations

import errno

import pytest

from registry_cache.store import trouble as module
from registry_cache.store.trouble import Trouble


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
    trouble = Trouble()
    trouble.ended()
    assert not trouble.failing
    for _ in range(1000):
        trouble.refused("write", OSError(errno.ENOSPC, "No space"))
    trouble.refused("write", OSError(errno.EIO, "broken"))
    assert said.lines == ["the disk refuses: No space", "the disk refuses: broken"]
    assert (trouble.failing, trouble.count) == (True, 1001)
    trouble.ended()
    trouble.ended()
    assert said.lines[2:] == ["the disk takes blobs again"]
    assert not trouble.failing
    trouble.refused("write", OSError(errno.ENOSPC, "No space"))
    assert said.lines[3:] == ["the disk refuses: No space"]


def test_what_goes_on_is_said_again(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter((0.0, 59.0, 61.0))
    monkeypatch.setattr("registry_cache.store.trouble.time.monotonic", lambda: next(moments))
    trouble = Trouble()
    for _ in range(3):
        trouble.refused("write", OSError(errno.ENOSPC, "No space"))
    assert len(said.lines) == 2
