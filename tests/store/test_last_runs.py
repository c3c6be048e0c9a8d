"""What is known of the last cleanup and the last verify, and of those that nobody could note."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from registry_cache.policy.eviction import Bounds
from registry_cache.store.last_runs import LastRuns, note_verify, read_last_runs
from registry_cache.upkeep.cleanup import Cleanup
from tests.harness.store_rig import Store, fail_at

NOW = 1_800_000_000.5


def test_a_store_where_none_has_run(store: Store) -> None:
    assert read_last_runs(store.layout) == LastRuns(None, None, None)


def test_what_has_run(store: Store) -> None:
    assert Cleanup(store.layout, Bounds(), NOW).run()
    note_verify(store.layout, NOW - 60, damage=3)
    assert read_last_runs(store.layout) == LastRuns(NOW, NOW - 60, 3)
    note_verify(store.layout, NOW, damage=0)
    assert read_last_runs(store.layout) == LastRuns(NOW, NOW, 0)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"damage": null}', b"\xff"])
def test_a_note_that_cannot_be_read(store: Store, data: bytes) -> None:
    Path(store.layout.last_verify).write_bytes(data)
    os.utime(store.layout.last_verify, (NOW, NOW))
    assert read_last_runs(store.layout) == LastRuns(None, NOW, None)


def test_a_disk_that_takes_no_note(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = fail_at(monkeypatch, "open", 1, errno.ENOSPC, Path(store.layout.root))
    note_verify(store.layout, NOW, damage=1)
    assert failures() == 1
    assert read_last_runs(store.layout) == LastRuns()
