"""Few large documents at once; small ones wait for nobody."""

from __future__ import annotations

import threading

import pytest

from registry_cache.errors import TooManyRequests
from registry_cache.upstream.large_documents import LargeDocuments

SECONDS = 20.0


def test_one_more_is_refused_after_the_wait() -> None:
    large = LargeDocuments(places=1, wait_seconds=0.01)
    with large.turn() as first, large.turn() as second:
        first.take()
        with pytest.raises(TooManyRequests) as refused:
            second.take()
    assert refused.value.retry_after


def test_it_goes_on_when_one_has_ended() -> None:
    large, is_taken = LargeDocuments(places=1, wait_seconds=SECONDS), threading.Event()

    def take() -> None:
        with large.turn() as turn:
            turn.take()
            is_taken.set()

    thread = threading.Thread(target=take)
    with large.turn() as first:
        first.take()
        thread.start()
        assert not is_taken.is_set()
    assert is_taken.wait(SECONDS)
    thread.join()


def test_a_place_is_taken_once_and_given_back_whatever_happens() -> None:
    large = LargeDocuments(places=1, wait_seconds=0.01)

    def break_down() -> None:
        with large.turn() as turn:
            turn.take()
            turn.take()
            raise KeyError

    for _ in range(3):
        with pytest.raises(KeyError):
            break_down()
    with large.turn() as turn:
        turn.take()


def test_who_takes_none_holds_up_nobody() -> None:
    large = LargeDocuments(places=1, wait_seconds=0.01)
    with large.turn(), large.turn() as turn:
        turn.take()
