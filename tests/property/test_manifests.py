"""Any bytes, JSON or depth: a manifest is parsed or treated as opaque, and never raises."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from registry_cache.oci import media_types
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import Descriptor, Manifest, parse_manifest

KEYS = ["mediaType", "config", "layers", "blobs", "manifests", "subject", "digest", "size", "x"]
# Includes lone surrogates, since JSON may contain \ud800.
texts = st.text(st.characters(exclude_categories=()), max_size=20)
digests = st.builds(Digest.of, st.binary(max_size=4), st.sampled_from(["sha256", "sha512"]))
descriptors = st.builds(
    Descriptor,
    st.sampled_from([media_types.OCI_MANIFEST, media_types.DOCKER_MANIFEST, "application/x.test", ""]),
    digests,
    st.integers(0, 2**63),
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    texts,
    digests.map(str),
    st.sampled_from([media_types.OCI_INDEX, "application/json", "text/html", "application/vnd.x+xml", "a/b\r\nc: d"]),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(st.sampled_from(KEYS), texts), inner, max_size=6)
    ),
    max_leaves=30,
)
documents = st.one_of(values, st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, values)))
PAGES = [
    "text/html",
    "image/svg+xml",
    "application/xhtml+xml",
    "application/vnd.x+xml",
    "text/plain",
]
headers = st.one_of(texts, st.sampled_from(["", media_types.OCI_INDEX, "application/json", *PAGES]))


def as_json(descriptor: Descriptor) -> dict[str, object]:
    named: dict[str, object] = {"digest": str(descriptor.digest), "size": descriptor.size, "annotations": {"a": "b"}}
    return named | ({"mediaType": descriptor.media_type} if descriptor.media_type else {})


def check(manifest: Manifest) -> None:
    """What holds for every Manifest."""
    assert media_types.is_media_type(manifest.media_type)
    # Nothing that a browser would show as a page.
    assert manifest.media_type in (media_types.of_manifest(manifest.media_type), media_types.UNKNOWN)
    assert manifest.media_type.isascii()
    assert manifest.media_type.isprintable()
    assert len(manifest.media_type) <= 255
    assert media_types.kind_of(manifest.media_type).replace("-", "").isalpha()
    for child in (*manifest.blobs, *manifest.manifests, *([manifest.subject] if manifest.subject else [])):
        assert Digest.parse(str(child.digest)) == child.digest
        assert child.size is None or child.size >= 0
        assert child.media_type == "" or media_types.is_media_type(child.media_type)


@given(
    st.one_of(st.binary(max_size=200), st.text('{}[]":,0123456789.eE-ntf \\u', max_size=60).map(str.encode)), headers
)
@settings(max_examples=300)
def test_any_bytes(data: bytes, content_type: str) -> None:
    check(parse_manifest(data, content_type))


@given(documents, headers)
@settings(max_examples=150)
def test_any_json(document: object, content_type: str) -> None:
    check(parse_manifest(json.dumps(document).encode(), content_type))


@given(
    st.integers(1, 5000),
    st.sampled_from([("[", "]"), ('{"config":', "}"), ('{"digest":', "}"), ('[{"layers":', "}]")]),
    st.sampled_from(KEYS),
    st.booleans(),
)
@settings(max_examples=200)
def test_any_depth(depth: int, brackets: tuple[str, str], key: str, closed: bool) -> None:
    opening, closing = brackets
    nested = opening * depth + "1" + closing * depth * closed
    check(parse_manifest(f'{{"{key}": {nested}}}'.encode()))
    check(parse_manifest(f'{{"{key}": {{"size": 1, "digest": {nested}}}}}'.encode()))


@given(
    st.lists(descriptors, max_size=4),
    st.lists(descriptors, max_size=4),
    st.one_of(st.none(), descriptors),
    st.one_of(st.none(), descriptors),
    st.sampled_from([None, 0, "\t"]),
)
def test_children_and_subject_are_found_in_order(
    layers: list[Descriptor],
    manifests: list[Descriptor],
    config: Descriptor | None,
    subject: Descriptor | None,
    indent: int | str | None,
) -> None:
    document: dict[str, object] = {"layers": [as_json(layer) for layer in layers]}
    document["manifests"] = [as_json(manifest) for manifest in manifests]
    if config:
        document["config"] = as_json(config)
    if subject:
        document["subject"] = as_json(subject)

    manifest = parse_manifest(json.dumps(document, indent=indent).encode())

    assert manifest.blobs == (*([config] if config else []), *layers)
    assert manifest.manifests == tuple(manifests)
    assert manifest.subject == subject
