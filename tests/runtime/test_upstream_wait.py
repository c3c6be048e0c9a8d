"""How long a request waited for upstream."""

from __future__ import annotations

import contextlib
import threading

import pytest

from registry_cache.runtime import upstream_wait


def test_waits_inside_of_waits_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(100))
    monkeypatch.setattr("registry_cache.runtime.upstream_wait.time.monotonic", lambda: next(now))
    watch = upstream_wait.begin()
    with upstream_wait.waiting(), upstream_wait.waiting():
        pass
    with contextlib.suppress(ValueError), upstream_wait.waiting():
        raise ValueError
    assert watch.seconds == 2


def test_another_threads_waits_are_not_ours() -> None:
    watch = upstream_wait.begin()

    def wait() -> None:
        with upstream_wait.waiting():
            pass

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert watch.seconds == 0
