"""Many who look at once cost one look."""

from __future__ import annotations

import threading

import pytest

from registry_cache.ui.cached_value import CachedValue


def test_it_is_made_anew_after_its_time() -> None:
    made: list[int] = []
    now = 100.0

    def make() -> int:
        made.append(len(made))
        return made[-1]

    remembered = CachedValue(make, 1.0, lambda: now)
    assert [remembered.get(), remembered.get()] == [0, 0]
    now = 100.9
    assert remembered.get() == 0
    now = 101.0
    assert [remembered.get(), remembered.get()] == [1, 1]


def test_who_comes_meanwhile_waits_for_the_one_that_is_made() -> None:
    gate, entered, made = threading.Event(), threading.Event(), []

    def make() -> str:
        made.append(1)
        entered.set()
        assert gate.wait(10)
        return "page"

    remembered = CachedValue(make, 1.0)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(remembered.get())) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert entered.wait(10)
    gate.set()
    for thread in threads:
        thread.join(10)
    assert (found, made) == (["page"] * 5, [1])


def test_an_error_is_not_remembered() -> None:
    errors = [OSError("once")]

    def make() -> str:
        if errors:
            raise errors.pop()
        return "page"

    remembered = CachedValue(make, 1.0)
    with pytest.raises(OSError, match="once"):
        remembered.get()
    assert remembered.get() == "page"
