"""What workers note of upstreams, for each other: none of it is lost in what another notes at the same moment."""

from __future__ import annotations

import errno
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry_cache.store import locks, upstream_notes
from registry_cache.store.layout import Layout
from registry_cache.store.upstream_notes import UpstreamNote
from tests.harness.store_rig import CHILD_SECONDS, HUB, fail_at


def noted(layout: Layout) -> object:
    return json.loads(Path(layout.upstream_note(HUB)).read_bytes())


def test_what_one_worker_notes_another_reads(layout: Layout) -> None:
    one, other = UpstreamNote(layout, HUB), UpstreamNote(layout, HUB)
    assert one.read() == other.read() == {}
    one.change("down", lambda _: {"since": 1.0})
    assert other.read() == {"down": {"since": 1.0}}
    other.change("down", lambda before: None)
    assert one.read() == {}
    # One who has nothing to say changes nothing.
    one.change("down", lambda before: before)
    assert noted(layout) == {}


def test_no_note_of_many_workers_is_lost(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_notes, "LOCK_TIMEOUT_SECONDS", CHILD_SECONDS)
    # Each opens its lock anew, so these exclude each other as processes do.
    workers = [UpstreamNote(layout, HUB) for _ in range(8)]

    def add(before: object) -> int:
        return (before if isinstance(before, int) else 0) + 1

    def work(number: int) -> None:
        for _ in range(25):
            workers[number].change("ab"[number % 2], add)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert noted(layout) == UpstreamNote(layout, HUB).read() == {"a": 100, "b": 100}
    assert list(Path(layout.locks).rglob("*.lock")) == []


def test_a_worker_that_holds_the_lock_for_good_keeps_nobody(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_notes, "LOCK_TIMEOUT_SECONDS", 0.01)
    held = locks.try_lock(layout.upstream_note_lock(HUB))
    assert held is not None
    with held:
        UpstreamNote(layout, HUB).change("limits", lambda _: {"limit": 100})
    assert noted(layout) == {"limits": {"limit": 100}}


def test_a_disk_that_takes_no_note_is_told_and_costs_nothing_more(
    layout: Layout, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    notice = UpstreamNote(layout, HUB)
    notice.change("down", lambda _: {"since": 1.0})
    fail_at(monkeypatch, "rename", 1, errno.ENOSPC, Path(layout.root))
    notice.change("down", lambda _: None)
    assert "could not note the state of an upstream" in [each.getMessage() for each in caplog.records]
    assert notice.read() == {"down": {"since": 1.0}}


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 100_000, b"\xff"])
def test_a_note_that_cannot_be_read_is_none(layout: Layout, content: bytes) -> None:
    path = Path(layout.upstream_note(HUB))
    path.parent.mkdir()
    path.write_bytes(content)
    notice = UpstreamNote(layout, HUB)
    assert notice.read() == {}
    notice.change("down", lambda _: {"since": 1.0})
    assert noted(layout) == {"down": {"since": 1.0}}
