"""Platforms: how they are written, what includes what, and what an index tells of its children."""

from __future__ import annotations

import json
import platform as machine

import pytest

from registry_cache.oci.digest import Digest
from registry_cache.oci.platform import Platform, attestations, missing, platforms, this_machine

A, B = Digest.of(b"a"), Digest.of(b"b")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("linux/amd64", "linux/amd64"),
        ("Linux/x86_64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/armv7l", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_what_people_write(text: str, written: str) -> None:
    assert str(Platform.parse(text)) == written


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "linux/amd64/", "a/b/c/d", "linux/am d64", "all"])
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(ValueError, match="write it as linux/amd64"):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("wanted", "there", "included"),
    [
        ("linux/arm", "linux/arm/v7", True),
        ("linux/arm/v7", "linux/arm/v6", False),
        ("linux/arm/v7", "linux/arm", False),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/amd64", "windows/amd64", False),
    ],
)
def test_without_a_variant_it_means_each(wanted: str, there: str, included: bool) -> None:
    assert Platform.parse(wanted).includes(Platform.parse(there)) is included
    assert missing([Platform.parse(wanted)], [Platform.parse(there)]) == ([] if included else [Platform.parse(wanted)])


def test_this_machine_is_a_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "machine", lambda: "x86_64")
    assert str(this_machine()) == "linux/amd64"


def test_what_an_index_tells() -> None:
    children = [
        {"digest": str(A), "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
        {"digest": str(B)},
        {"digest": "sha256:short", "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": str(B), "platform": "linux"},
        "child",
        {"digest": str(A), "platform": {"os": "linux", "architecture": 7}},
    ]
    assert platforms(json.dumps({"manifests": children}).encode()) == {
        A: [Platform("linux", "arm64"), Platform("linux", "7")]
    }


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"manifests": 7}', b'{"manifests": {"a": 1}}', b"[" * 100_000])
def test_what_tells_nothing(data: bytes) -> None:
    assert platforms(data) == {}


def test_what_an_index_attests() -> None:
    kind, of = "vnd.docker.reference.type", "vnd.docker.reference.digest"
    children = [
        {"digest": str(A)},
        {"digest": str(B), "annotations": {kind: "attestation-manifest", of: str(A)}},
        {"digest": str(A), "annotations": {kind: "something-else", of: str(B)}},
        {"digest": "sha256:?", "annotations": {kind: "attestation-manifest", of: str(A)}},
        {"digest": str(A), "annotations": {kind: "attestation-manifest", of: 7}},
        {"digest": str(A), "annotations": {kind: "attestation-manifest"}},
        {"digest": str(A), "annotations": "none"},
        7,
    ]
    assert attestations(json.dumps({"manifests": children}).encode()) == {B: A}
    assert attestations(b"[]") == {}
