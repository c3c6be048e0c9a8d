"""By whom a request came: told to the next one, in whatever thread it is asked."""

from __future__ import annotations

import threading

import pytest

from registry_cache.runtime import via
from registry_cache.runtime.via import MOST_CACHES, VIA

OTHER = "1.1 registry-cache-0123456789abcdef"


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
    assert via.begin(header) is is_answered
    via.begin("")


def test_what_a_registry_is_told() -> None:
    # Only what a cache has written: the rest is a client's word.
    via.begin(f"1.1 x\x1b, {OTHER}, 1.0 y")
    told: list[str] = []

    def tell() -> None:
        told.append(via.ours())

    threads = [threading.Thread(target=target) for target in (via.kept(tell), tell)]
    for thread in threads:
        thread.start()
        thread.join()
    assert told == [f"{OTHER}, {VIA}", VIA]
    assert via.passed_on() == OTHER
    via.begin("")
    assert via.ours() == VIA
