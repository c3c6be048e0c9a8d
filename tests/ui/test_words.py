"""How the page writes numbers and what strangers chose."""

from __future__ import annotations

from datetime import UTC

import pytest

from registry_cache.ui import words


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (0, "0"),
        (999, "999"),
        (4711, "4,711"),
        (999_999, "999,999"),
        (1_250_000, "1.2 million"),
        (3 * 10**9, "3.0 billion"),
    ],
)
def test_counts(number: int, written: str) -> None:
    assert words.count(number) == written


@pytest.mark.parametrize(
    ("part", "whole", "written"),
    [
        (0, 0, "0 %"),
        (0, 5, "0 %"),
        (1, 10**6, "< 1 %"),
        (93, 100, "93 %"),
        (10**6 - 1, 10**6, "> 99 %"),
        (7, 7, "100 %"),
    ],
)
def test_a_share_is_all_or_nothing_only_where_it_is(part: int, whole: int, written: str) -> None:
    assert words.share(part, whole) == written


def test_one_and_several() -> None:
    found = [words.plural(number, "repository", "repositories") for number in (0, 1, 2)]
    assert found == ["0 repositories", "1 repository", "2 repositories"]
    assert (words.plural(1, "tag"), words.plural(1200, "tag")) == ("1 tag", "1,200 tags")


def test_what_strangers_write_is_cut_and_moves_no_cursor() -> None:
    assert words.cut("a" * 500) == "a" * 119 + "…"
    assert words.cut("tag\u202egpj.exe\n\x1b[2J") == "tag?gpj.exe??[2J"


def test_a_time_of_another_day_has_its_date() -> None:
    assert words.clock(3600.0, 7200.0, UTC) == "01:00"
    assert words.clock(3600.0, 90_000.0, UTC) == "1970-01-01 01:00"
