"""How long a request waited for upstream, and by whom it came: told to the next one, in whatever thread it is asked."""

from __future__ import annotations

import contextlib
import threading
from queue import Queue

import pytest

from registry_cache.runtime import request_context
from registry_cache.runtime.request_context import MOST_CACHES, VIA

OTHER = "1.1 registry-cache-0123456789abcdef"


def test_waits_inside_of_waits_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(100))
    monkeypatch.setattr("registry_cache.runtime.request_context.time.monotonic", lambda: next(now))
    watch = request_context.begin_stopwatch()
    with request_context.waiting(), request_context.waiting():
        pass
    with contextlib.suppress(ValueError), request_context.waiting():
        raise ValueError
    assert watch.seconds == 2


def test_another_threads_waits_are_not_ours() -> None:
    watch = request_context.begin_stopwatch()

    def wait() -> None:
        with request_context.waiting():
            pass

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert watch.seconds == 0


@pytest.mark.parametrize(
    ("header", "is_answered"),
    [
        ("", True),
        (OTHER, True),
        (f"1.1 a-proxy, {OTHER}", True),
        (VIA, False),
        (f"{OTHER}, {VIA}", False),
        (", ".join([OTHER] * (MOST_CACHES - 1)), True),
        (", ".join([OTHER] * MOST_CACHES), False),
    ],
    ids=["nobody", "another", "a proxy", "us", "us by another", "seven", "eight"],
)
def test_who_is_answered(header: str, is_answered: bool) -> None:
    assert request_context.note_via(header) is is_answered
    request_context.note_via("")


def test_what_a_registry_is_told() -> None:
    # Only what a cache has written: the rest is a client's word.
    request_context.note_via(f"1.1 x\x1b, {OTHER}, 1.0 y")
    told: Queue[str] = Queue()

    def tell() -> None:
        told.put(request_context.via())

    request_context.start_thread("ours", tell)
    assert told.get(timeout=10) == f"{OTHER}, {VIA}"
    threading.Thread(target=tell).start()
    assert told.get(timeout=10) == VIA
    assert request_context.came_by() == OTHER
    request_context.note_via("")
    assert request_context.via() == VIA
