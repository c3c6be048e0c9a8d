"""Seals of notes and of requests: right ones open, and nothing else does."""

from __future__ import annotations

import pytest

from registry_cache.runtime.seals import AskedOfPeer, Seals

SEALS = Seals("secret")
NOW = 1_800_000_000.0
ASKED = AskedOfPeer("GET", "/v2/a/blobs/sha256:1?ns=x", "bytes=5-", "node1")


def test_a_note_opens_under_its_own_name_and_secret_alone() -> None:
    sealed = SEALS.seal("lead:1", {"node": "a"})

    assert SEALS.open("lead:1", sealed) == {"node": "a"}
    assert SEALS.open("lead:2", sealed) is None
    assert Seals("other").open("lead:1", sealed) is None


@pytest.mark.parametrize("data", [None, b"", b"{}", b"0" * 64 + b'{"node":"a"}', b"\xff" * 80])
def test_what_nobody_sealed_is_not_there(data: bytes | None) -> None:
    assert SEALS.open("lead:1", data) is None


def test_a_request_names_its_node() -> None:
    found = SEALS.verify(SEALS.sign(ASKED, NOW), AskedOfPeer("GET", ASKED.target, "bytes=5-"), NOW + 299)

    assert found == ASKED


@pytest.mark.parametrize(
    ("method", "target", "range_", "later"),
    [
        ("HEAD", ASKED.target, "bytes=5-", 0),
        ("GET", ASKED.target + "0", "bytes=5-", 0),
        ("GET", ASKED.target, "bytes=0-", 0),
        ("GET", ASKED.target, "bytes=5-", 301),
        ("GET", ASKED.target, "bytes=5-", -301),
    ],
)
def test_a_signature_is_of_one_request_at_one_time(method: str, target: str, range_: str, later: int) -> None:
    assert SEALS.verify(SEALS.sign(ASKED, NOW), AskedOfPeer(method, target, range_), NOW + later) is None


@pytest.mark.parametrize("header", ["", ";;", "a;1800000000;", "a;9999999999999999;00", "a;b;c", "é;1800000000;é"])
def test_what_nobody_signed_is_refused(header: str) -> None:
    assert SEALS.verify(header, ASKED, NOW) is None
