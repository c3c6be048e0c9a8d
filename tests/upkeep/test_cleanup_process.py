"""A cleanup in a process of its own: what it says, and to whom."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest

from registry_cache.policy.eviction import Bounds
from registry_cache.runtime import log
from registry_cache.upkeep.cleanup_process import CleanupProcess
from registry_cache.upkeep.size_keeper import SpaceNeeded
from tests.harness.store_rig import Store, open_store

LONG_AGO = 90 * 24 * 3600


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with a blob that is in nobody's use; and a log that belongs to this test."""
    monkeypatch.setattr(logging.getLogger("registry_cache"), "handlers", [])
    made = open_store(tmp_path / "store")
    blob = made.layout.blob(made.put(b"old"))
    then = time.time() - LONG_AGO
    os.utime(blob, (then, then))
    return made


def run(store: Store, max_size: int) -> tuple[int, int, int | None]:
    bounds = Bounds(None, max_size, None)
    return CleanupProcess(Path(store.layout.root), bounds, "info", "text").run(SpaceNeeded())


def test_a_server_is_told_what_it_evicted(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    log.setup("info", "text")

    assert run(store, 1)[:2] == (1, 3)

    assert "info made room blobs=1 bytes=3" in capfd.readouterr().err


def test_a_cleanup_that_made_no_room_says_nothing(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    log.setup("info", "text")

    assert run(store, 1000)[:2] == (0, 0)

    assert capfd.readouterr().err == ""


def test_nothing_is_said_into_a_commands_progress_bar(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(store, 1)[:2] == (1, 3)

    assert capfd.readouterr().err == ""
