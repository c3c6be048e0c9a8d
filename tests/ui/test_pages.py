"""What the pages read, and when."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from registry_cache.config import load_config
from registry_cache.stats.day import Day
from registry_cache.ui.blueprint import blueprint
from registry_cache.ui.pages import Pages
from registry_cache.wiring.services import build
from tests.harness.month import DAYS, write_month


def test_statistics_are_read_when_somebody_looks_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker would read a month at its start, while clients wait for it."""
    write_month(tmp_path)
    read: list[str] = []
    real = Day.read

    def note(path: str) -> Day:
        read.append(path)
        return real(path)

    monkeypatch.setattr(Day, "read", note)
    settings = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(tmp_path), "REGISTRY_HTTP_DEBUG_ADDR": "127.0.0.1:1"}
    page = build(load_config(settings)).page
    assert page is not None
    threads = set(threading.enumerate())
    blueprint(*page)
    assert (set(threading.enumerate()), read) == (threads, [])

    pages = Pages(page[0])
    pages.overview(1)
    assert 1 <= len(read) <= 2
    pages.clients()
    assert len(read) == DAYS
