"""Parse manifests and indexes for what a cache must know of them: children and subject.

A manifest is kept and served as its exact bytes; nothing parsed here replaces them (P27). What cannot be parsed is
opaque, never an error: a cache has no say in what people store (P54).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from registry_cache.errors import DigestInvalid
from registry_cache.oci import media_types, signed_manifest
from registry_cache.oci.digest import Digest
from registry_cache.oci.json_object import parse_object

# The spec asks registries to take 4 MiB ("Pushing manifests"); more is refused to keep memory bounded (P52).
MAX_MANIFEST_SIZE = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Media type, digest and size in bytes of something a manifest names (image-spec, descriptor.md).

    ``size``: None for a layer of schema 1, which tells none.
    """

    media_type: str
    digest: Digest
    size: int | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the bytes of a manifest or index say. ``manifests`` is empty unless it is an index."""

    media_type: str
    blobs: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None


def parse_manifest(data: bytes, content_type: str = "") -> Manifest:
    """Read ``data``; ``content_type`` is upstream's header, and wins over the document's own ``mediaType`` if
    it is a manifest's by the specs.
    """
    document = parse_object(data) or {}
    media_type = _media_type(document, content_type)
    config = _descriptor(document.get("config"))
    blobs = [*([config] if config else ()), *_descriptors(document.get("layers")), *_descriptors(document.get("blobs"))]
    if media_type in media_types.SCHEMA_1:
        blobs = list(_schema_1_layers(document.get("fsLayers")))
    return Manifest(
        media_type=media_type,
        blobs=tuple(blobs),
        manifests=tuple(_descriptors(document.get("manifests"))),
        subject=_descriptor(document.get("subject")),
    )


def is_manifest(data: bytes, content_type: str = "") -> bool:
    """Tell whether ``data`` is a manifest by its form, or by upstream's ``content_type`` and a JSON object.

    What is merely JSON is not: a registry under maintenance may answer anything with 200 and ``{"status": …}``.
    """
    document = parse_object(data)
    if document is None:
        return False
    if media_types.of_manifest(content_type):
        return True
    lists = {key for key in ("manifests", "layers", "fsLayers", "blobs") if isinstance(document.get(key), list)}
    match document.get("schemaVersion"):
        case 1:
            return "fsLayers" in lists
        case 2:
            return bool(lists & {"manifests", "layers"})
    return "blobs" in lists and document.get("mediaType") == media_types.OCI_ARTIFACT


def _media_type(document: dict[str, object], content_type: str) -> str:
    declared = media_types.of_manifest(content_type)
    if media_types.is_known(declared):
        return declared
    own = document.get("mediaType")
    if isinstance(own, str) and (own := media_types.of_manifest(own)):
        return own
    if declared:
        # Of a vendor that neither we nor the document know better.
        return declared
    if schema_1 := signed_manifest.media_type_of(document):
        return schema_1
    if "manifests" in document:
        return media_types.OCI_INDEX
    return media_types.OCI_MANIFEST if "layers" in document else media_types.UNKNOWN


def _descriptors(value: object) -> Iterator[Descriptor]:
    for item in value if isinstance(value, list) else ():
        descriptor = _descriptor(item)
        if descriptor:
            yield descriptor


def _schema_1_layers(value: object) -> Iterator[Descriptor]:
    for item in value if isinstance(value, list) else ():
        digest = item.get("blobSum") if isinstance(item, dict) else None
        with contextlib.suppress(DigestInvalid):
            yield Descriptor(media_types.DOCKER_LAYER, Digest.parse(digest if isinstance(digest, str) else ""), None)


def _descriptor(value: object) -> Descriptor | None:
    if not isinstance(value, dict):
        return None
    media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    if not isinstance(digest, str) or not isinstance(size, int) or isinstance(size, bool) or size < 0:
        return None
    if not isinstance(media_type, str) or not media_types.is_media_type(media_type):
        media_type = ""
    try:
        return Descriptor(media_type, Digest.parse(digest), size)
    except DigestInvalid:
        return None
