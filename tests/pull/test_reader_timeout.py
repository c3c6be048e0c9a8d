"""A reader waits for bytes that do not come as long as its client does."""

from __future__ import annotations

import threading
from contextvars import copy_context

import pytest

from registry_cache.errors import UpstreamTimeout
from registry_cache.pull import reader_timeout
from registry_cache.pull.reader_timeout import wait_for_change
from registry_cache.runtime import request_context


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_timeout, "LOOK_SECONDS", 0.001)


def wait(at: list[int], has_left: bool) -> None:
    request_context.note_client(lambda: has_left)
    changed = threading.Condition()
    with changed:
        wait_for_change(changed, lambda: at.pop() if len(at) > 1 else at[0], "it")


def test_it_is_not_waited_for_whose_client_has_left() -> None:
    with pytest.raises(UpstreamTimeout, match="the client has left"):
        copy_context().run(wait, [0], has_left=True)


def test_what_moves_is_waited_for_though_nobody_told() -> None:
    """And the client is not looked at: it may have closed its own side alone."""
    copy_context().run(wait, [1, 0], has_left=True)


def test_a_client_that_waits_is_given_an_end_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_timeout, "STALL_TIMEOUT_SECONDS", 0.01)
    with pytest.raises(UpstreamTimeout, match="it has not moved"):
        copy_context().run(wait, [0], has_left=False)
