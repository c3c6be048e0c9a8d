"""All that is known of one repository: its images, their sizes, platforms and last use. Reads this repository alone."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from registry_cache.errors import RegistryError
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import MAX_MANIFEST_SIZE, parse_manifest
from registry_cache.oci.names import FullName, Repository
from registry_cache.oci.platform import platforms
from registry_cache.store import disk
from registry_cache.store.image_graph import ImageGraph, read_graph
from registry_cache.store.layout import Layout
from registry_cache.store.pins import ANY_UPSTREAM, Pin, Pins
from registry_cache.store.repositories import RepositoryFolder
from registry_cache.upkeep.image_list import stored_part

# Images of which a page tells; a repository of ten thousand tags has a terminal.
MOST_IMAGES = 100
# An image's configuration takes a few kilobytes; a larger one tells no platform.
_MOST_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ImageDetails:
    """An image. ``size`` of what is here of it, and how much of that others ``shared``, in this repository or another.

    ``used`` in seconds since the epoch. ``platforms`` as far as they are known; of an index, those that are here.
    """

    digest: Digest
    tags: Sequence[str]
    size: int
    shared: int
    used: float
    platforms: Sequence[str]
    pinned: bool


@dataclass(frozen=True, slots=True)
class RepositoryDetails:
    """``images``: those used last, and how many there are in ``total``; ``size``: of all that is here, once each."""

    name: str
    images: Sequence[ImageDetails]
    total: int
    size: int


def repository_details(layout: Layout, name: str, most: int = MOST_IMAGES) -> RepositoryDetails | None:
    """Return what is known of ``name``, which begins with its upstream's; None where it is not here.

    Raises StoreError.
    """
    folder = _folder(layout, name)
    if folder is None:
        return None
    with disk.store_errors(f"read what is here of {name[:100]}"):
        if not folder.has_content():
            return None
        graph = read_graph(folder)
        tops = graph.tops()
        parts = {top: graph.closure([top]) for top in tops}
        known = {digest: stored_part(layout, digest) for digest in set().union(*parts.values())}
        times = Counter(digest for digests in parts.values() for digest in digests)
        pins = [pin for pin in Pins(layout).all() if _is_of(pin, name)]
        images = [
            ImageDetails(
                top,
                graph.tags.get(top, ()),
                size=sum(known[each].size for each in parts[top]),
                shared=sum(known[each].size for each in parts[top] if times[each] > 1 or known[each].is_shared),
                used=known[top].used or max(known[each].used for each in parts[top]),
                platforms=_platforms(layout, top, graph),
                pinned=_is_pinned(pins, top, graph.tags.get(top, ())),
            )
            for top in sorted(tops, key=lambda top: -known[top].used)[:most]
        ]
    return RepositoryDetails(name, images, len(tops), sum(each.size for each in known.values()))


def some_tags(layout: Layout, name: str, most: int) -> list[str]:
    """Return up to ``most`` tags of a repository, those asked for last first; [] where it is not here.

    Raises StoreError.
    """
    folder = _folder(layout, name)
    if folder is None:
        return []
    with disk.store_errors(f"list the tags of {name[:100]}"):
        found = folder.tags()
        # A thousand stats take longer than a page may.
        latest = sorted(found, key=_age) if len(found) < _FEW else found
    return [entry.name.removesuffix(".json") for entry in latest[:most]]


_FEW = 100


def _age(entry: os.DirEntry[str]) -> int:
    try:
        return -entry.stat().st_mtime_ns
    except FileNotFoundError:
        # It has gone since the folder was read.
        return 0


def _folder(layout: Layout, name: str) -> RepositoryFolder | None:
    upstream, _, rest = name.partition("/")
    try:
        repository = Repository.parse(rest)
    except RegistryError:
        return None
    # It becomes a part of a path.
    if not upstream or upstream.startswith(("_", ".")) or "\0" in upstream:
        return None
    return RepositoryFolder(layout.repository(FullName(upstream, repository)))


def _platforms(layout: Layout, top: Digest, graph: ImageGraph) -> list[str]:
    """Return the platforms of an index's manifests that are here, or the one that an image's configuration tells."""
    data = disk.read_whole(layout.blob(top), MAX_MANIFEST_SIZE) or b""
    manifest = parse_manifest(data)
    if manifest.manifests:
        found = platforms(data)
        here = [found.get(child.digest, ()) for child in manifest.manifests if child.digest in graph.children]
        return list(dict.fromkeys(str(each) for several in here for each in several))
    size = manifest.blobs[0].size if manifest.blobs else None
    if size is None or size > _MOST_CONFIG_BYTES:
        return []
    try:
        config = json.loads(disk.read_whole(layout.blob(manifest.blobs[0].digest), _MOST_CONFIG_BYTES) or b"")
        return ["/".join(str(config[key]) for key in ("os", "architecture", "variant") if config.get(key))]
    except (ValueError, AttributeError, RecursionError):
        return []


def _is_of(pin: Pin, name: str) -> bool:
    upstream, _, repository = name.partition("/")
    return pin.upstream in (upstream, ANY_UPSTREAM) and pin.image.matches_repository(repository)


def _is_pinned(pins: Iterable[Pin], top: Digest, tags: Iterable[str]) -> bool:
    return any(pin.image.digest == top if pin.image.digest else any(map(pin.image.matches_tag, tags)) for pin in pins)
