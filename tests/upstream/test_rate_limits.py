"""What an upstream says of its limit, line by line, and what is therefore not asked."""

from __future__ import annotations

from dataclasses import replace

import pytest
from requests.structures import CaseInsensitiveDict

from registry_cache.upstream.rate_limits import DEFAULT_WAIT_SECONDS, Limits, answered, lifted, read_limits, refused

NOW = 1000.0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600"}, (100, 21600, 76)),
        ({"RateLimit-Limit": "100", "RateLimit-Remaining": "76"}, (100, None, 76)),
        ({"ratelimit-limit": " 200 ; w=3600", "ratelimit-remaining": "0"}, (200, 3600, 0)),
        ({"ratelimit-remaining": "5;w=21600"}, (None, None, 5)),
        ({"ratelimit-limit": "100;w=21600"}, (100, 21600, None)),
        ({"ratelimit-limit": "100, 100;w=1;burst=50", "ratelimit-remaining": "7, 9"}, (100, None, 7)),
        ({"ratelimit-limit": "many", "ratelimit-remaining": ""}, (None, None, None)),
        ({"ratelimit-limit": "-5", "ratelimit-remaining": "٣"}, (None, None, None)),
        ({"Retry-After": "60"}, (None, None, None)),
        ({}, (None, None, None)),
    ],
)
def test_headers(headers: dict[str, str], expected: tuple[int | None, ...]) -> None:
    found = read_limits(Limits(), CaseInsensitiveDict(headers), NOW)
    assert (found.limit, found.window, found.remaining) == expected


def test_what_says_nothing_changes_nothing() -> None:
    known = Limits(limit=100, remaining=50, seen_at=1.0)
    assert read_limits(known, {}, NOW) is known
    assert read_limits(known, {"docker-ratelimit-source": "192.0.2.1"}, NOW) is known


def test_what_is_said_in_part_keeps_the_rest() -> None:
    known = Limits(limit=100, window=21600, remaining=50, source="192.0.2.1", counted_until=NOW + 5)
    found = read_limits(known, {"ratelimit-remaining": "49"}, NOW)
    assert found == Limits(100, 21600, 49, "192.0.2.1", seen_at=NOW, counted_until=NOW + 5)


@pytest.mark.parametrize(
    ("said", "kept"), [("192.0.2.1", "192.0.2.1"), ("x" * 500, "x" * 100), ("a\x1b[31mb", None), ("", None)]
)
def test_the_source_is_kept_short_and_printable(said: str, kept: str | None) -> None:
    headers = {"ratelimit-remaining": "1", "docker-ratelimit-source": said}
    assert read_limits(Limits(), headers, NOW).source == kept


@pytest.mark.parametrize(
    ("limit", "remaining", "low"),
    [
        (100, 24, True),
        (100, 25, False),
        (100, 0, True),
        (4, 1, False),
        (4, 0, True),
        (None, 0, False),
        (9, None, False),
    ],
)
def test_low_is_under_a_quarter(limit: int | None, remaining: int | None, low: bool) -> None:
    assert Limits(limit=limit, remaining=remaining).low is low


def test_a_429_to_a_counted_pull_leaves_what_is_free_alone() -> None:
    limits = refused(Limits(limit=100, remaining=3), counted=True, retry_after=60.0, now=NOW)
    assert limits.blocked_until(counted=True) == NOW + 60
    assert limits.blocked_until(counted=False) <= NOW
    assert limits.remaining == 0


def test_a_429_to_what_is_free_stops_everything() -> None:
    limits = refused(Limits(limit=100, remaining=3), counted=False, retry_after=60.0, now=NOW)
    assert limits.blocked_until(counted=True) == limits.blocked_until(counted=False) == NOW + 60
    assert limits.remaining == 3


@pytest.mark.parametrize("counted", [True, False])
def test_a_429_without_a_time_is_believed_for_a_while(counted: bool) -> None:
    limits = refused(Limits(), counted=counted, retry_after=None, now=NOW)
    assert limits.blocked_until(counted=counted) == NOW + DEFAULT_WAIT_SECONDS
    assert limits.remaining is None


@pytest.mark.parametrize(
    ("refused_at", "looked_at", "until", "expected"),
    [
        (NOW, 0.0, NOW + 600, False),
        (NOW - 59, 0.0, NOW + 600, False),
        (NOW - 60, 0.0, NOW + 600, True),
        (NOW - 300, NOW - 59, NOW + 600, False),
        (NOW - 300, NOW - 60, NOW + 600, True),
        (NOW - 300, 0.0, NOW, False),
        # The clock went back.
        (NOW + 300, 0.0, NOW + 600, True),
    ],
)
def test_one_a_minute_looks_whether_a_limit_is_still_there(
    refused_at: float, looked_at: float, until: float, expected: bool
) -> None:
    for limits in (Limits(counted_until=until), Limits(all_until=until)):
        assert replace(limits, refused_at=refused_at, looked_at=looked_at).look_is_due(NOW) is expected


@pytest.mark.parametrize(
    ("remaining", "headers", "counted", "later", "still"),
    [
        # Docker Hub tells by a HEAD how many pulls are left.
        (0, {"ratelimit-remaining": "0;w=21600"}, False, 1.0, True),
        (0, {"ratelimit-remaining": "7;w=21600"}, False, 1.0, False),
        (0, {}, False, 999.0, True),
        # Others tell nothing: a pull a minute does.
        (None, {}, False, 1.0, True),
        (None, {}, False, 60.0, False),
        (None, {}, True, 1.0, False),
    ],
)
def test_an_answer_shows_whether_pulls_are_still_refused(
    remaining: int | None, headers: dict[str, str], counted: bool, later: float, still: bool
) -> None:
    limits = refused(Limits(remaining=remaining), counted=True, retry_after=3600.0, now=NOW)
    found = answered(limits, headers, counted=counted, now=NOW + later)
    assert (found.blocked_until(counted=True) > NOW + later) is still


def test_an_answer_to_what_is_free_ends_a_limit_on_everything() -> None:
    limits = refused(Limits(remaining=5), counted=False, retry_after=3600.0, now=NOW)
    assert answered(limits, {}, counted=False, now=NOW).blocked_until(counted=True) == 0
    assert lifted(limits).blocked_until(counted=True) == 0


def test_a_429_that_may_be_tried_at_once_blocks_nobody() -> None:
    limits = refused(Limits(), counted=True, retry_after=0.0, now=NOW)
    assert limits.blocked_until(counted=True) == NOW


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(), ""),
        (Limits(limit=100, remaining=7), "7 of 100 pulls left"),
        (Limits(limit=100, window=21600, remaining=0), "0 of 100 pulls left in 6 h"),
        (Limits(100, 1800, 7, "192.0.2.1"), "7 of 100 pulls left in 0.5 h, counted for 192.0.2.1"),
        (Limits(source="192.0.2.1"), "counted for 192.0.2.1"),
    ],
)
def test_words(limits: Limits, words: str) -> None:
    assert limits.words() == words
