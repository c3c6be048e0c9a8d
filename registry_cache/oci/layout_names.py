"""What ``index.json`` of an OCI image layout (image-spec, image-layout.md) calls its images. Pure.

Tools disagree: skopeo writes a bare tag, podman and containerd a whole name, docker both. What is whole goes first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from registry_cache.errors import DigestInvalid, ManifestUnknown
from registry_cache.oci.digest import Digest
from registry_cache.oci.image_layout import IMAGE_NAME, REF_NAME
from registry_cache.oci.names import Tag, split_image_name


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image of a layout: ``path`` is registry and repository, "" where only a tag is told; ``tag`` None for none."""

    digest: Digest
    media_type: str
    path: str
    tag: Tag | None

    def __str__(self) -> str:
        """Return what a person would look for in the layout."""
        return f"{self.path}:{self.tag}" if self.path and self.tag else self.path or str(self.tag or self.digest)


def read_index(data: bytes) -> list[NamedImage]:
    """Return the images of ``index.json``, in its order. Raises ValueError, DigestInvalid, ManifestUnknown."""
    try:
        found = json.loads(data)["manifests"]
    except (ValueError, RecursionError, LookupError, TypeError):
        found = None
    if not isinstance(found, list):
        raise ValueError("index.json is no index")
    return list(_named(found))


def _named(entries: list[object]) -> Iterator[NamedImage]:
    for entry in entries:
        if not isinstance(entry, dict):
            raise ValueError("index.json lists something that is no descriptor")
        digest, media_type = Digest.parse(str(entry.get("digest"))), entry.get("mediaType")
        path, tag = _split(_called(entry.get("annotations")))
        yield NamedImage(digest, media_type if isinstance(media_type, str) else "", path, tag)


def _called(annotations: object) -> str:
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
    # Whoever names a digest and no tag does not mean latest.
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
    """Return path and tag of what an operator writes for ``--as``; no tag where none is written.

    Raises ManifestUnknown for a tag that the grammar does not allow.
    """
    if "@" in text:
        raise ManifestUnknown(f"{text!r} has a digest: write a repository, or one with a tag")
    path, reference = split_image_name(text)
    return path, reference if isinstance(reference, Tag) and path != text else None
