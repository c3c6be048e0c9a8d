"""An image as a whole: its index, the manifests of the wanted platforms, and the blobs of those.

Knows how they hang together, not where they come from: that is the ``Get`` of whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from registry_cache.errors import ManifestUnknown
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import Descriptor, Manifest, parse_manifest
from registry_cache.oci.names import Reference, Tag
from registry_cache.oci.platform import Platform, missing, platforms
from registry_cache.pull.target import PullTarget
from registry_cache.store.records import StoredManifest

# An index of indexes is legal but rare; deeper nesting is not for use.
MAX_DEPTH = 3

# Layers that may lie elsewhere than in the registry, by their ``urls``: image-spec, "Non-Distributable Layers".
_FOREIGN = (".foreign.", ".nondistributable.")

Get = Callable[[Digest], StoredManifest | None]


@dataclass(frozen=True, slots=True)
class Image:
    """An image by its name."""

    target: PullTarget
    reference: Reference

    @property
    def name(self) -> str:
        """The whole name, which means the same to everybody."""
        sign = ":" if isinstance(self.reference, Tag) else "@"
        return f"{self.target}{sign}{self.reference}"


@dataclass(slots=True)
class Parts:
    """What an image consists of. ``platforms``: those that are in it, and ``absent`` those that were left out."""

    manifests: dict[Digest, StoredManifest] = field(default_factory=dict)
    blobs: dict[Digest, Descriptor] = field(default_factory=dict)
    platforms: list[Platform] = field(default_factory=list)
    absent: list[Platform] = field(default_factory=list)


def is_foreign(layer: Descriptor) -> bool:
    """Return whether a registry may do without this layer."""
    return any(word in layer.media_type for word in _FOREIGN)


def collect(top: StoredManifest, wanted: Sequence[Platform], get: Get) -> Parts:
    """Return the parts of an image for the ``wanted`` platforms, all of them where none is named.

    ``get`` brings a child's manifest; None leaves it out. A child of which the index tells no platform is for all, and
    so is an image without an index.
    """
    parts = Parts()
    _add(parts, top, wanted, get, MAX_DEPTH)
    return parts


def refuse_missing(name: str, parts: Parts, wanted: Sequence[Platform]) -> None:
    """Raise ManifestUnknown where the index of ``name`` has none of a platform that is wanted."""
    lacking = missing(wanted, parts.platforms)
    if lacking and (parts.platforms or parts.absent):
        there = ", ".join(dict.fromkeys(map(str, (*parts.platforms, *parts.absent))))
        raise ManifestUnknown(f"{name} has no {' and no '.join(map(str, lacking))}: it has {there}")


def _add(parts: Parts, manifest: StoredManifest, wanted: Sequence[Platform], get: Get, depth: int) -> None:
    if manifest.digest in parts.manifests:
        return
    parts.manifests[manifest.digest] = manifest
    found = parse_manifest(manifest.data, manifest.media_type)
    parts.blobs.update((blob.digest, blob) for blob in found.blobs)
    if depth:
        _add_children(parts, manifest, found, wanted, get, depth - 1)


def _add_children(
    parts: Parts, index: StoredManifest, found: Manifest, wanted: Sequence[Platform], get: Get, depth: int
) -> None:
    by_child = platforms(index.data)
    for child in dict.fromkeys(each.digest for each in found.manifests):
        of = by_child.get(child, [])
        if wanted and of and not any(each.includes(one) for each in wanted for one in of):
            parts.absent += of
            continue
        manifest = get(child)
        if manifest is None:
            parts.absent += of
            continue
        parts.platforms += of
        _add(parts, manifest, () if of else wanted, get, depth)
