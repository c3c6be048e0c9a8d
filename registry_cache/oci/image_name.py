"""What people write for an image: ``[registry/]repository[:tag][@digest]``, with ``latest`` for no tag."""

from __future__ import annotations

from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Reference, Tag

DEFAULT_TAG = "latest"


def split_image_name(text: str) -> tuple[str, Reference]:
    """Return registry and repository, not parsed any further, and the reference. A digest goes before a tag.

    Raises DigestInvalid, ManifestUnknown.
    """
    name, at, digest = text.partition("@")
    # A colon before the last slash is the port of a registry.
    path, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        path, tag = name, DEFAULT_TAG
    return path, Digest.parse(digest) if at else Tag.parse(tag)
