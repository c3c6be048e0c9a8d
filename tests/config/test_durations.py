"""Go's durations, both ways."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_cache.config.durations import LONGEST, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", timedelta()),
        ("0s", timedelta()),
        ("168h", timedelta(days=7)),
        ("90m", timedelta(minutes=90)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        (".5s", timedelta(milliseconds=500)),
        ("1.s", timedelta(seconds=1)),
        ("2h45m0.5s", timedelta(hours=2, minutes=45, milliseconds=500)),
        ("300ms", timedelta(milliseconds=300)),
        ("7us", timedelta(microseconds=7)),
        ("7µs", timedelta(microseconds=7)),
        ("1ns", timedelta(microseconds=1)),  # and not 0, which would mean "for ever"
        ("-1m", timedelta(minutes=-1)),
        ("+1m", timedelta(minutes=1)),
    ],
)
def test_what_go_reads(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "7", "604800", "1d", "1h 30m", "h", ".s", "1,5h", "1e3s", "\u0661h", "--1s", "1hs", "9" * 30 + "h", "1" * 80],
)
def test_what_go_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|longer"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (timedelta(), "0"),
        (timedelta(days=7), "168h"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(seconds=1, milliseconds=500), "1s500ms"),
        (timedelta(seconds=-30), "-30s"),
    ],
)
def test_how_they_are_printed(duration: timedelta, expected: str) -> None:
    assert format_duration(duration) == expected


@given(st.timedeltas(-LONGEST, LONGEST))
def test_what_is_printed_reads_back(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration
