"""An upgrade by USR2 under systemd, as a new worker sees it."""

from __future__ import annotations

import os

import pytest

from registry_cache.server import systemd


def test_an_old_master_that_has_just_ended_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(pid: int, sent: int) -> None:
        raise ProcessLookupError(pid, sent)

    monkeypatch.setenv("NOTIFY_SOCKET", "@registry-cache-nobody-listens")
    monkeypatch.setenv("GUNICORN_PID", str(os.getppid()))
    monkeypatch.setattr(systemd, "_parent", lambda _: os.getppid())
    monkeypatch.setattr(os, "kill", gone)

    systemd.end_master_before()
