"""To which Host headers the page answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_cache.ui.hosts import is_ours


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:5001",
        "[::1]:5001",
        "[::1]",
        "localhost",
        "LOCALHOST:5001",
        "10.0.0.7:5001",
        "cache.lan:80",
    ],
)
def test_addresses_and_names_of_ours(host: str) -> None:
    assert is_ours(host, {"cache.lan"})


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:5001",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "::1",
        "[127.0.0.1]",
        "[::1",
        "[::1]evil",
        "cache.lan.",
        "127.0.0.1:x",
        "2130706433",
        "0x7f.1",
        "127.0.0.1:5001:1",
    ],
)
def test_names_that_somebody_else_may_give(host: str) -> None:
    assert not is_ours(host, {"cache.lan"})


@given(st.text(alphabet="abz.-:[]0123456789", max_size=30))
def test_no_name_with_a_letter_gets_in(host: str) -> None:
    if any(letter in "z-" for letter in host):
        assert not is_ours(host, ())
