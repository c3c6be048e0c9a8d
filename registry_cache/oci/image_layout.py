"""The OCI image layout (image-spec, image-layout.md): its two small files, and how ``index.json`` names images.

Tools disagree on names: skopeo writes a bare tag, podman and containerd a whole name, docker both. Whole names win.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from registry_cache.errors import DigestInvalid, ManifestUnknown
from registry_cache.oci import media_types
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Tag, split_image_name

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


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image of a layout: ``path`` is registry and repository, "" if only a tag is given; ``tag`` may be None."""

    digest: Digest
    media_type: str
    path: str
    tag: Tag | None

    def __str__(self) -> str:
        """Return what a person would look for in the layout."""
        return f"{self.path}:{self.tag}" if self.path and self.tag else self.path or str(self.tag or self.digest)


def blob_name(digest: Digest) -> str:
    """Return the path of a blob in a layout."""
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


def read_index(data: bytes) -> list[NamedImage]:
    """Return the images of ``index.json``, in its order. Raises ValueError, DigestInvalid, ManifestUnknown."""
    try:
        found = json.loads(data)["manifests"]
    except (ValueError, RecursionError, LookupError, TypeError):
        found = None
    if not isinstance(found, list):
        raise ValueError("index.json is no index")
    return [_named(entry) for entry in found]


def _named(entry: object) -> NamedImage:
    if not isinstance(entry, dict):
        raise ValueError("index.json lists something that is not a descriptor")
    digest, media_type = Digest.parse(str(entry.get("digest"))), entry.get("mediaType")
    path, tag = _split(_name(entry.get("annotations")))
    return NamedImage(digest, media_type if isinstance(media_type, str) else "", path, tag)


def _name(annotations: object) -> str:
    if not isinstance(annotations, dict):
        return ""
    names = (annotations.get(IMAGE_NAME), annotations.get(REF_NAME))
    return next((name for name in names if isinstance(name, str) and name), "")


def _split(name: str) -> tuple[str, Tag | None]:
    """Return path and tag of ``name``, which may be a tag, or a name with a tag, a digest or both, or nothing."""
    name, at, _ = name.partition("@")
    if not at and ":" not in name and "/" not in name:
        return "", Tag.parse(name) if name else None
    if is_digest(name):
        return "", None
    path, reference = split_image_name(name)
    # A digest without a tag does not mean latest.
    tagged = isinstance(reference, Tag) and not (at and path == name)
    return path, reference if tagged and isinstance(reference, Tag) else None


def is_digest(text: str) -> bool:
    """Tell whether ``text`` is a digest."""
    try:
        Digest.parse(text)
    except DigestInvalid:
        return False
    return True


def split_wanted(text: str) -> tuple[str, Tag | None]:
    """Return path and tag of what an operator writes for ``--as``; None for no tag.

    Raises ManifestUnknown for a tag that the grammar does not allow.
    """
    if "@" in text:
        raise ManifestUnknown(f"{text!r} has a digest: write a repository, or one with a tag")
    path, reference = split_image_name(text)
    return path, reference if isinstance(reference, Tag) and path != text else None
