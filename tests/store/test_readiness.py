"""Whether the store can be written, so that traffic may come."""

from __future__ import annotations

import errno
import shutil
import threading
from pathlib import Path

import pytest

from registry_cache.store import atomic_write
from registry_cache.store.layout import VERSION, Layout
from registry_cache.store.readiness import FRESH_SECONDS, ReadinessProbe


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setattr("registry_cache.store.readiness.PROBE_TIMEOUT_SECONDS", 60.0)
    return Layout.open(tmp_path / "store")


def test_a_store_that_can_be_written_is_ok(layout: Layout) -> None:
    assert ReadinessProbe(layout).check() == "ok"
    assert list(Path(layout.locks).glob(".*")) == []


@pytest.mark.parametrize(
    ("number", "word"),
    [(errno.ENOSPC, "full"), (errno.EDQUOT, "full"), (errno.EROFS, "failing"), (errno.EIO, "failing")],
)
def test_what_the_disk_says(layout: Layout, number: int, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, data: bytes) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(atomic_write, "write_whole", refuse)
    assert ReadinessProbe(layout).check() == word


def test_a_look_is_good_for_seconds(layout: Layout) -> None:
    now = [100.0]
    probe = ReadinessProbe(layout, lambda: now[0])
    assert probe.check() == "ok"
    shutil.rmtree(layout.root)
    now[0] += FRESH_SECONDS / 2
    assert probe.check() == "ok"
    now[0] += FRESH_SECONDS
    assert probe.check() == "failing"


def test_what_is_wrong_is_logged_when_it_begins_and_when_it_ends(
    layout: Layout, caplog: pytest.LogCaptureFixture
) -> None:
    """The page says that the log tells it; probes ask every few seconds."""
    caplog.set_level("INFO")
    now = [100.0]
    probe = ReadinessProbe(layout, lambda: now[0])
    version = Path(layout.root) / "layout"
    words = []
    for is_here in (True, False, False, True, True):
        version.write_bytes(VERSION) if is_here else version.unlink(missing_ok=True)
        now[0] += FRESH_SECONDS
        words.append(probe.check())

    assert words == ["ok", "failing", "failing", "ok", "ok"]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert told[0].startswith("the store cannot be used")
    assert told[1].startswith("the store can be used again")


def test_a_disk_that_hangs_fails(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr("registry_cache.store.readiness.PROBE_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(atomic_write, "write_whole", lambda path, data: gate.wait(30))
    probe = ReadinessProbe(layout)
    assert [probe.check(), probe.check()] == ["failing", "failing"]
    gate.set()
