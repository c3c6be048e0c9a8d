"""JSON that holds so much that all others would wait for it is no document."""

from __future__ import annotations

import json
import time

import pytest

from registry_cache.oci.json_object import SMALL_SIZE, parse_object
from registry_cache.oci.manifest import MAX_MANIFEST_SIZE, is_manifest, parse_manifest

MiB = 1024 * 1024


@pytest.mark.parametrize("piece", [b"{}", b"[]", b"1", b'""', b"[[],{}]", b'{"":0}', b'{"\\ud800":[]}'])
def test_much_of_anything_is_refused_within_a_moment(piece: bytes) -> None:
    """Eight megabytes of it took up to a second, and hundreds of megabytes of memory."""
    data = b'{"layers":[' + b",".join([piece] * (8 * MiB // (len(piece) + 1))) + b"]}"
    began = time.process_time()
    assert parse_object(data) is None
    assert not is_manifest(data)
    assert parse_manifest(data).blobs == ()
    assert time.process_time() - began < 0.15


def test_as_many_different_keys_are_refused() -> None:
    assert parse_object(b"{" + b",".join(b'"%x":0' % number for number in range(250_000)) + b"}") is None


def test_half_a_million_floats_are_refused_within_a_moment() -> None:
    """To read them, and to write them three times, took a worker two thirds of a second."""
    data = b'{"manifests":[{"x":[' + b",".join([b"1e300"] * 500_000) + b"]}]}"
    began = time.process_time()
    assert parse_object(data) is None
    assert time.process_time() - began < 0.15
    assert parse_object(b'{"x":[' + b",".join([b"1.5"] * 9_000) + b'],"y":"' + b"z" * SMALL_SIZE + b'"}')


def test_the_longest_that_make_sense_are_taken() -> None:
    layers = [{"mediaType": "a/b", "digest": f"sha256:{n:064x}", "size": 1} for n in range(37_000)]
    manifest = json.dumps({"schemaVersion": 2, "layers": layers}, separators=(",", ":")).encode()
    assert 0.9 * MAX_MANIFEST_SIZE < len(manifest) < MAX_MANIFEST_SIZE
    assert len(parse_manifest(manifest).blobs) == len(layers)
    tags = json.dumps({"tags": [f"t{n:09d}" for n in range(500_000)]}).encode()
    assert len((parse_object(tags) or {})["tags"]) == 500_000


@pytest.mark.parametrize("data", [b"[]", b"1", b"", b"\xff", b"[" * SMALL_SIZE, b'{"a":' + b"9" * 5000 + b"}"])
def test_what_is_no_object(data: bytes) -> None:
    assert parse_object(data) is None
