"""The JSON of tag and manifest records, written and read. Pure: no file is opened here.

A record that cannot be read is treated as missing: each reader here returns None, or nothing, for one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from registry_cache.errors import RegistryError
from registry_cache.oci import media_types
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import Manifest

_T = TypeVar("_T")

# Everything that parsing a torn record may raise.
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, RegistryError)


@dataclass(frozen=True, slots=True)
class TagRecord:
    """What a tag meant at ``checked_at``; ``size`` of the manifest in bytes.

    The manifest itself may not be in the store yet; ``previous`` is what the tag meant before, if that one is.
    """

    digest: Digest
    media_type: str
    size: int
    checked_at: datetime
    changed_at: datetime
    previous: Digest | None = None


@dataclass(frozen=True, slots=True)
class Child:
    """What a manifest names, and what it says of its size in bytes."""

    digest: Digest
    size: int | None


def write_tag(record: TagRecord) -> bytes:
    """Return the bytes of a tag's record; ``checked_at`` is left to the file's mtime."""
    document = {
        "digest": str(record.digest),
        "media_type": record.media_type,
        "size": record.size,
        "changed_at": record.changed_at.isoformat(),
        "previous": str(record.previous) if record.previous else None,
    }
    return json.dumps(document).encode()


def write_shared_tag(record: TagRecord) -> bytes:
    """Return the bytes of a tag's record for a place that keeps no time of check beside them."""
    document = json.loads(write_tag(record))
    return json.dumps({**document, "checked_at": record.checked_at.timestamp()}).encode()


def read_shared_tag(data: bytes) -> TagRecord | None:
    """Return the record that ``write_shared_tag`` has written."""
    checked_at = _read(data, lambda record: float(record["checked_at"]))
    return None if checked_at is None else read_tag(data, checked_at)


def read_tag(data: bytes | None, checked_at: float) -> TagRecord | None:
    """Return the record in ``data``; ``checked_at`` in seconds since the epoch."""

    def tag(record: Any) -> TagRecord:
        return TagRecord(
            digest=Digest.parse(record["digest"]),
            media_type=_safe_media_type(record),
            size=int(record["size"]),
            checked_at=datetime.fromtimestamp(checked_at, UTC),
            changed_at=datetime.fromisoformat(record["changed_at"]),
            previous=Digest.parse(record["previous"]) if record.get("previous") else None,
        )

    return _read(data, tag)


def tag_digest(data: bytes | None) -> Digest | None:
    """Return the digest that a tag's record names."""
    return _read(data, lambda record: Digest.parse(record["digest"]))


def write_manifest(manifest: Manifest, size: int, signed: Digest | None = None) -> bytes:
    """Return the bytes of the record of a manifest of ``size`` bytes.

    ``signed``: the digest of all of its bytes, where a signed one has another name. It counts as a child, so that
    whatever keeps, counts or removes an image's parts has it too.
    """
    own = [[str(signed), size]] if signed else []
    document = {
        "media_type": manifest.media_type,
        "size": size,
        "children": own + [[str(child.digest), child.size] for child in (*manifest.manifests, *manifest.blobs)],
        **({"signed": str(signed)} if signed else {}),
        "subject": str(manifest.subject.digest) if manifest.subject else None,
    }
    return json.dumps(document).encode()


def manifest_media_type(data: bytes | None) -> str | None:
    """Return the media type in a manifest's record."""
    return _read(data, _safe_media_type)


def signed_digest(data: bytes | None) -> Digest | None:
    """Return the digest of all bytes of a signed manifest, from its record; None for any other manifest."""
    return _read(data, lambda record: Digest.parse(record["signed"]) if "signed" in record else None)


def manifest_children(data: bytes | None) -> list[Child]:
    """Return the children in a manifest's record."""
    return _read(data, _children) or []


def read_manifest(data: bytes | None) -> tuple[str, list[Child]] | None:
    """Return media type and children in a manifest's record; None unless both can be read."""

    def both(record: Any) -> tuple[str, list[Child]] | None:
        media_type = record["media_type"]
        return (media_type, _children(record)) if isinstance(media_type, str) else None

    return _read(data, both)


def _safe_media_type(record: Any) -> str:
    # It becomes a header, and whoever wrote this record may have taken any type from upstream.
    return media_types.of_manifest(str(record["media_type"])) or media_types.UNKNOWN


def _children(record: Any) -> list[Child]:
    return [Child(Digest.parse(digest), None if size is None else int(size)) for digest, size in record["children"]]


def _read(data: bytes | None, make: Callable[[Any], _T]) -> _T | None:
    try:
        return make(json.loads(data)) if data else None
    except _UNREADABLE:
        return None
