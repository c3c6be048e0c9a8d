"""What a cache reads from a manifest: media type, children, subject; anything else is opaque."""

from __future__ import annotations

import json

import pytest

from registry_cache.oci import media_types
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import Descriptor, Manifest, parse_manifest

CONFIG = Digest.of(b"config")
LAYER = Digest.of(b"layer")
WIDE_LAYER = Digest.of(b"layer", "sha512")
CHILD = Digest.of(b"child")
SUBJECT = Digest.of(b"subject")


def named(digest: Digest, media_type: str = "application/x.test", size: int = 7) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(digest), "size": size}


def descriptor(digest: Digest, media_type: str = "application/x.test", size: int = 7) -> Descriptor:
    return Descriptor(media_type, digest, size)


DOCKER_SCHEMA_2 = {
    "schemaVersion": 2,
    "mediaType": media_types.DOCKER_MANIFEST,
    "config": named(CONFIG, "application/vnd.docker.container.image.v1+json"),
    "layers": [named(LAYER, "application/vnd.docker.image.rootfs.diff.tar.gzip", 3_000_000_000)],
}
OCI_IMAGE = {"schemaVersion": 2, "config": named(CONFIG), "layers": [named(LAYER), named(WIDE_LAYER)]}
OCI_INDEX = {
    "schemaVersion": 2,
    "mediaType": media_types.OCI_INDEX,
    "manifests": [
        named(CHILD, media_types.OCI_MANIFEST) | {"platform": {"architecture": "amd64", "os": "linux"}},
        named(LAYER, media_types.OCI_MANIFEST) | {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
    ],
}
SIGNATURE = {
    "schemaVersion": 2,
    "mediaType": media_types.OCI_MANIFEST,
    "artifactType": "application/vnd.example.signature",
    "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": str(CONFIG), "size": 2, "data": "e30="},
    "layers": [named(LAYER)],
    "subject": named(SUBJECT, media_types.OCI_MANIFEST),
}
ORAS_ARTIFACT = {
    "mediaType": "application/vnd.oci.artifact.manifest.v1+json",
    "blobs": [named(LAYER)],
    "subject": named(SUBJECT),
}
SCHEMA_1 = {"schemaVersion": 1, "name": "a", "tag": "b", "fsLayers": [{"blobSum": str(LAYER)}], "signatures": []}
SCHEMA_1_TYPE = "application/vnd.docker.distribution.manifest.v1+prettyjws"


@pytest.mark.parametrize(
    ("document", "content_type", "expected"),
    [
        (
            DOCKER_SCHEMA_2,
            media_types.DOCKER_MANIFEST,
            Manifest(
                media_types.DOCKER_MANIFEST,
                blobs=(
                    descriptor(CONFIG, "application/vnd.docker.container.image.v1+json"),
                    descriptor(LAYER, "application/vnd.docker.image.rootfs.diff.tar.gzip", 3_000_000_000),
                ),
            ),
        ),
        (
            OCI_IMAGE,
            media_types.OCI_MANIFEST,
            Manifest(media_types.OCI_MANIFEST, blobs=(descriptor(CONFIG), descriptor(LAYER), descriptor(WIDE_LAYER))),
        ),
        (
            OCI_INDEX,
            media_types.OCI_INDEX,
            Manifest(
                media_types.OCI_INDEX,
                manifests=(
                    descriptor(CHILD, media_types.OCI_MANIFEST),
                    descriptor(LAYER, media_types.OCI_MANIFEST),
                ),
            ),
        ),
        (
            SIGNATURE,
            media_types.OCI_MANIFEST,
            Manifest(
                media_types.OCI_MANIFEST,
                blobs=(descriptor(CONFIG, "application/vnd.oci.empty.v1+json", 2), descriptor(LAYER)),
                subject=descriptor(SUBJECT, media_types.OCI_MANIFEST),
            ),
        ),
        (
            ORAS_ARTIFACT,
            "",
            Manifest(
                "application/vnd.oci.artifact.manifest.v1+json",
                blobs=(descriptor(LAYER),),
                subject=descriptor(SUBJECT),
            ),
        ),
        (SCHEMA_1, SCHEMA_1_TYPE, Manifest(SCHEMA_1_TYPE, blobs=(Descriptor(media_types.DOCKER_LAYER, LAYER, None),))),
    ],
    ids=["docker schema 2", "oci image", "oci index", "signature", "oras artifact", "docker schema 1"],
)
def test_what_a_manifest_names(document: object, content_type: str, expected: Manifest) -> None:
    assert parse_manifest(json.dumps(document).encode(), content_type) == expected


@pytest.mark.parametrize(
    ("document", "content_type", "expected"),
    [
        # The header wins, even where the document says otherwise: it is what clients of upstream would see.
        ({"mediaType": media_types.OCI_INDEX}, media_types.DOCKER_INDEX, media_types.DOCKER_INDEX),
        ({"manifests": []}, media_types.OCI_MANIFEST, media_types.OCI_MANIFEST),
        ({}, f"{media_types.OCI_INDEX}; charset=utf-8", media_types.OCI_INDEX),
        ({}, "application/vnd.example+json", "application/vnd.example+json"),
        # A header that says nothing does not win, nor does one of another kind of thing.
        ({"mediaType": media_types.OCI_INDEX}, "application/vnd.ms-excel", media_types.OCI_INDEX),
        ({"mediaType": media_types.OCI_INDEX}, "application/vnd.api+json", media_types.OCI_INDEX),
        ({"mediaType": media_types.DOCKER_MANIFEST}, "", media_types.DOCKER_MANIFEST),
        ({"mediaType": media_types.DOCKER_MANIFEST}, "application/json", media_types.DOCKER_MANIFEST),
        ({"mediaType": media_types.DOCKER_MANIFEST}, "text/plain; charset=utf-8", media_types.DOCKER_MANIFEST),
        ({"mediaType": media_types.DOCKER_MANIFEST}, "application/octet-stream", media_types.DOCKER_MANIFEST),
        # Neither says: by its shape.
        ({"manifests": []}, "", media_types.OCI_INDEX),
        ({"layers": []}, "", media_types.OCI_MANIFEST),
        ({"manifests": [], "layers": []}, "application/json", media_types.OCI_INDEX),
        ({}, "", "application/json"),
        *(({}, each, "application/json") for each in ("text/plain", "binary/octet-stream", "application/x-directory")),
        *(
            ({"manifests": []}, each, media_types.OCI_INDEX)
            for each in ("text/html", "application/octet-stream", "application/json; charset=utf-8", "image/png")
        ),
        ([], "", "application/json"),
        # What could break the line of a header, or be megabytes long, never becomes one.
        ({"mediaType": "a/b\r\nSet-Cookie: c=d", "layers": []}, "", media_types.OCI_MANIFEST),
        ({"mediaType": "no media type", "layers": []}, "", media_types.OCI_MANIFEST),
        ({"mediaType": "a/" + "b" * 1_000_000}, "", "application/json"),
        ({"mediaType": 5, "manifests": []}, "", media_types.OCI_INDEX),
        ({"mediaType": None}, "", "application/json"),
        ({"mediaType": "\ud800/x"}, "", "application/json"),
        ({"layers": []}, "application/vnd.a\r\n b", media_types.OCI_MANIFEST),
        ({}, "nonsense", "application/json"),
    ],
)
def test_whose_word_the_media_type_is(document: object, content_type: str, expected: str) -> None:
    assert parse_manifest(json.dumps(document).encode(), content_type).media_type == expected


def test_the_layers_of_schema_1_have_no_size() -> None:
    layers = [{"blobSum": str(LAYER)}, {"blobSum": "short"}, {"blobSum": 5}, None, {}]
    document = {"schemaVersion": 1, "fsLayers": layers, "signatures": []}
    found = parse_manifest(json.dumps(document).encode())
    assert found.blobs == (Descriptor(media_types.DOCKER_LAYER, LAYER, None),)


@pytest.mark.parametrize(
    "child",
    [
        None,
        5,
        [],
        {},
        {"digest": str(LAYER)},
        {"size": 7},
        {"digest": "sha256:short", "size": 7},
        {"digest": 5, "size": 7},
        {"digest": [[[str(LAYER)]]], "size": 7},
        {"digest": str(LAYER), "size": -1},
        {"digest": str(LAYER), "size": "7"},
        {"digest": str(LAYER), "size": 7.5},
        {"digest": str(LAYER), "size": True},
        {"digest": str(LAYER), "size": None},
    ],
)
def test_a_descriptor_that_is_none_is_passed_over(child: object) -> None:
    document = {"config": child, "layers": [child, named(LAYER)], "manifests": [named(CHILD), child], "subject": child}
    manifest = parse_manifest(json.dumps(document).encode())
    assert manifest.blobs == (descriptor(LAYER),)
    assert manifest.manifests == (descriptor(CHILD),)
    assert manifest.subject is None


@pytest.mark.parametrize("media_type", [None, 5, "", "\ud800", "a/b\n"])
def test_a_descriptor_whose_media_type_is_none_keeps_digest_and_size(media_type: object) -> None:
    document = {"config": named(CONFIG) | {"mediaType": media_type}}
    assert parse_manifest(json.dumps(document).encode()).blobs == (descriptor(CONFIG, ""),)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"null", b"5", b'"text"', b"[{}]", b"{", b"\xff\xfe", b"\x00", b"\xef\xbb\xbf", b"<html>busy</html>"),
        b'{"layers": 5, "manifests": {"a": 1}, "config": "x", "subject": [], "blobs": null}',
        b'{"layers": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"config": ' + b'{"config": ' * 100_000 + b"1" + b"}" * 100_001,
        b'{"size": ' + b"9" * 100_000 + b"}",
        b'{"config": {"digest": NaN, "size": Infinity}}',
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_no_manifest_is_opaque(data: bytes) -> None:
    manifest = parse_manifest(data, media_types.OCI_MANIFEST)
    assert manifest == Manifest(media_types.OCI_MANIFEST)


def test_utf_16_and_a_byte_order_mark_are_read_too() -> None:
    text = json.dumps({"config": named(CONFIG)})
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert parse_manifest(text.encode(encoding)).blobs == (descriptor(CONFIG),)
