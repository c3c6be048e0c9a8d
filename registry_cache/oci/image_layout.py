"""The OCI image layout (image-spec, image-layout.md): its two small files, and where blobs lie in it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from registry_cache.oci import media_types
from registry_cache.oci.digest import Digest

LAYOUT_NAME, INDEX_NAME = "oci-layout", "index.json"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'

# image-spec's name of an image within its layout, and the one of containerd, buildkit and podman, which is whole.
REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"


@dataclass(frozen=True, slots=True)
class LayoutEntry:
    """An image of a layout: its index or manifest of ``size`` bytes, its whole name, and a short one, if any."""

    media_type: str
    digest: Digest
    size: int
    name: str
    short: str | None


def blob_name(digest: Digest) -> str:
    """Return where a blob lies."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def write_index(entries: Iterable[LayoutEntry]) -> bytes:
    """Return the bytes of ``index.json``; the same for the same entries, whatever their order."""
    manifests = [_entry(entry) for entry in sorted(entries, key=lambda entry: entry.name)]
    document = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": manifests}
    return json.dumps(document, separators=(",", ":")).encode()


def _entry(entry: LayoutEntry) -> dict[str, object]:
    annotations = {IMAGE_NAME: entry.name} | ({REF_NAME: entry.short} if entry.short else {})
    return {
        "mediaType": entry.media_type,
        "digest": str(entry.digest),
        "size": entry.size,
        "annotations": annotations,
    }
