"""A signed manifest of schema 1 is named by what was signed; nothing else is named by a part of itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import parse_manifest
from registry_cache.oci.signed_manifest import SIGNED, UNSIGNED, digest_of, is_named, signed_part
from tests.harness.schema_1 import encoded, signed


@pytest.mark.parametrize("signers", [1, 3])
def test_the_signatures_are_no_part_of_what_is_named(signers: int) -> None:
    part, whole = signed(signers=signers)
    assert json.loads(whole)["signatures"]
    assert signed_part(whole) == part
    assert digest_of(whole) == Digest.of(part)
    assert is_named(whole, Digest.of(part))
    assert is_named(whole, Digest.of(part, "sha512"))
    assert is_named(whole, Digest.of(whole))
    assert not is_named(whole, Digest.of(b"another"))


def test_changing_what_was_signed_changes_the_name() -> None:
    part, whole = signed()
    assert not is_named(whole.replace(b"amd64", b"arm64"), Digest.of(part))


def test_what_was_signed_is_of_schema_1_itself() -> None:
    """Or bytes that clients refuse could be kept under the digest of any JSON there is."""
    part, whole = signed({"schemaVersion": 2, "layers": []})
    assert signed_part(whole) is None
    assert not is_named(whole, Digest.of(part))


def changed(**protected: Any) -> bytes:
    return signed()[1].replace(
        json.loads(signed()[1])["signatures"][0]["protected"].encode(), encoded(json.dumps(protected).encode()).encode()
    )


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(changed(), id="says nothing"),
        pytest.param(changed(formatLength="all", formatTail=""), id="no number"),
        pytest.param(changed(formatLength=10**9, formatTail=encoded(b"\n}")), id="longer than it is"),
        pytest.param(changed(formatLength=float("inf"), formatTail=encoded(b"\n}")), id="no integer"),
        pytest.param(changed(formatLength=-5, formatTail=encoded(b"\n}")), id="negative"),
        pytest.param(changed(formatLength=9, formatTail="*"), id="no base64"),
        pytest.param(changed(formatLength=9, formatTail=7), id="no text"),
        pytest.param(signed()[1][:-1], id="cut"),
        pytest.param(b'{"signatures": []}', id="no signature"),
        pytest.param(b'{"signatures": ' + b"[" * 100_000, id="deep"),
        pytest.param(b'["signatures"]', id="no object"),
        pytest.param(b'\xff"signatures"', id="no text at all"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_not_signed_as_it_should_be_has_its_own_name(whole: bytes) -> None:
    assert signed_part(whole) is None
    assert digest_of(whole) == Digest.of(whole)


@given(st.binary(), st.integers() | st.text() | st.none(), st.text() | st.integers())
def test_any_signature_at_all(padding: bytes, length: object, tail: object) -> None:
    data = changed(formatLength=length, formatTail=tail) + padding
    assert is_named(data, digest_of(data))


@pytest.mark.parametrize("content_type", ["", "application/octet-stream"])
def test_the_type_where_upstream_says_none(content_type: str) -> None:
    part, whole = signed()
    assert parse_manifest(whole, content_type).media_type == SIGNED
    assert parse_manifest(part, content_type).media_type == UNSIGNED
