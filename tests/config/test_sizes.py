"""Sizes: bytes with a unit, or a share of the disk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_cache.config.sizes import UNITS, parse_size
from tests.harness.config_files import Loader

DISK = 1_000_000

HUB_AND_ANOTHER = """
storage: {max_size: %s, filesystem: {}}
proxy: {reserved_size: %s}
upstreams: {ghcr.io: {reserved_size: %s}}
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", None),
        ("0%", None),
        ("1000", 1000),
        ("200GB", 200 * 10**9),
        ("200 gb", 200 * 10**9),
        ("150GiB", 150 * 2**30),
        ("1.5kB", 1500),
        ("7B", 7),
        ("80%", 800_000),
        ("2.5%", 25_000),
        ("100%", DISK),
        ("0.0000001%", 1),  # and not 0, which would mean "no bound"
    ],
)
def test_what_is_read(text: str, expected: int | None) -> None:
    assert parse_size(text).bytes_of(DISK) == expected
    assert str(parse_size(text)) == text
    assert bool(parse_size(text)) is (expected is not None)


@pytest.mark.parametrize(
    "text", ["", "GB", "200G", "-1GB", "101%", "1e9", "1,5GB", "\u0661GB", "10 %%", "9" * 40, "1\n", "1 0GB"]
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|disk"):
        parse_size(text)


@given(st.integers(0, 10**15), st.sampled_from(sorted(UNITS)))
def test_any_number_of_any_unit(number: int, unit: str) -> None:
    assert (parse_size(f"{number}{unit}").bytes_of(DISK) or 0) == number * UNITS[unit]


def test_in_the_file(loader: Loader) -> None:
    config = loader.load("storage: {max_size: 80%, min_free: 10GB, filesystem: {}}")
    shown = {entry.path: entry.value for entry in config.in_force}

    assert (config.max_size.bytes_of(DISK), config.min_free.bytes_of(DISK)) == (800_000, 10**10)
    assert (shown["storage.max_size"], shown["storage.min_free"]) == ("80%", "10GB")


def test_what_is_wrong_is_said(loader: Loader) -> None:
    problem = loader.problems("storage: {max_size: 200G}")["storage.max_size"]

    assert "unknown unit" in str(problem)
    assert "200GB" in str(problem)


@pytest.mark.parametrize(
    ("most", "hub", "other", "is_wrong"),
    [
        ("100GB", "60GB", "40GB", False),
        ("100GB", "60GB", "41GB", True),
        ("100GB", "60GB", "90%", False),  # how large the disk is, nobody knows here
        ("50%", "30%", "21%", True),
        ("0", "60GB", "41GB", False),
    ],
)
def test_no_more_can_be_reserved_than_there_is(loader: Loader, most: str, hub: str, other: str, is_wrong: bool) -> None:
    text = HUB_AND_ANOTHER % (most, hub, other)
    if is_wrong:
        assert "less than what reserved_size reserves" in loader.problems(text)["storage.max_size"].what
    else:
        assert str(loader.load(text).default_upstream.reserved_size) == hub
