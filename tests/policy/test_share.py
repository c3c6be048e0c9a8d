"""Which part of the store a night looks at."""

from __future__ import annotations

import pytest

from registry_cache.oci.digest import Digest
from registry_cache.policy.share import Share

DIGESTS = [Digest.of(b"%d" % number).hex for number in range(2000)]


def nightly(share: str, nights: int, first: int = 739_000) -> list[set[str]]:
    """What some nights in a row look at."""
    parts = [Share.parse(share).on(first + night) for night in range(nights)]
    return [{hex for hex in DIGESTS if part.covers(hex)} for part in parts]


@pytest.mark.parametrize("share", ["1/1", "1/30", "1/7", "2/7", "3/4", "5/12", "3/100"])
@pytest.mark.parametrize("first", [0, 1, 739_000])
def test_nights_in_a_row_see_everything(share: str, first: int) -> None:
    nights = Share.parse(share).nights
    assert set.union(*nightly(share, nights, first)) == set(DIGESTS)


def test_no_night_sees_twice_what_another_does_and_all_see_about_as_much() -> None:
    nights = nightly("1/30", 30)
    assert sum(map(len, nights)) == len(DIGESTS)
    assert max(map(len, nights)) < 3 * len(DIGESTS) / 30


def test_a_night_that_is_missed_is_made_up_for_a_round_later() -> None:
    assert nightly("1/30", 1, first=5) == nightly("1/30", 1, first=35)


def test_both_algorithms() -> None:
    part = Share.parse("1/2").on(0)
    assert {part.covers(Digest.of(b"%d" % number, "sha512").hex) for number in range(20)} == {True, False}


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", "1 / 3", "1/99999999", "٣/٤"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(ValueError, match="not a share"):
        Share.parse(text)


@pytest.mark.parametrize(("text", "nights"), [("1/30", 30), ("2/7", 4), ("7/7", 1), ("1/1", 1)])
def test_how_many_nights(text: str, nights: int) -> None:
    assert (Share.parse(text).nights, str(Share.parse(text))) == (nights, text)
