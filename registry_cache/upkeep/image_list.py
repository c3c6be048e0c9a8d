"""What ``registry-cache list`` reports: the images in a store, how large they are, and when they were last used."""

from __future__ import annotations

import fnmatch
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from registry_cache.oci.digest import Digest
from registry_cache.policy.eviction import SECOND
from registry_cache.store import disk
from registry_cache.store.image_graph import read_graph
from registry_cache.store.layout import Layout
from registry_cache.store.repositories import RepositoryFolder, repositories
from registry_cache.upkeep.report import Report, clock, iso, size, table

Sort = Literal["name", "size", "used", "pulls"]

# How often each image was pulled, by its repository with its upstream in front, and by its digest.
PullCounts = Mapping[tuple[str, str], int]


# A blob's own name, and the one of a repository that has it.
_NAMES_OF_ONE = 2


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A manifest or blob of an image: ``size`` in bytes, 0 if it is not here, and last ``used``, in seconds since 1970.

    ``is_shared``: several repositories have it.
    """

    size: int
    used: float
    is_shared: bool


@dataclass(frozen=True, slots=True)
class ListedImage:
    """An image of ``repository``, whose name begins with its upstream's.

    ``size`` of what is here of it, and how much of that other images ``shared``; ``used`` in seconds since the epoch.
    ``pulls``: how often it was pulled, None where nobody has counted.
    """

    repository: str
    digest: Digest
    tags: Sequence[str]
    size: int
    shared: int
    used: float
    pulls: int | None = None

    @property
    def names(self) -> list[str]:
        """Its names as one would pull it."""
        return [f"{self.repository}:{tag}" for tag in self.tags] or [f"{self.repository}@{self.digest}"]


@dataclass(frozen=True, slots=True)
class ImageListReport(Report):
    """The images of a store that match the ``pattern``, at ``now``, in the reader's time zone."""

    images: Sequence[ListedImage]
    now: datetime
    pattern: str = ""

    def lines(self) -> Iterator[str]:
        if not self.images:
            yield f"no image here matches {self.pattern!r}" if self.pattern else "no image is here"
            return
        rows = [("PULLS", "SIZE", "SHARED", "LAST USED", "IMAGE"), *map(self._row, self.images)]
        if self.images[0].pulls is None:
            yield from table([row[1:] for row in rows], right={0, 1})
        else:
            yield from table(rows, right={0, 1, 2})

    def document(self) -> dict[str, object]:
        """docs/reference.md explains each value."""
        return {
            "images": [
                {
                    "repository": each.repository,
                    "digest": str(each.digest),
                    "tags": list(each.tags),
                    "bytes": each.size,
                    "shared": each.shared,
                    "last_used": iso(each.used),
                    "pulls": each.pulls,
                }
                for each in self.images
            ]
        }

    def _row(self, each: ListedImage) -> tuple[str, str, str, str, str]:
        more = f", {', '.join(each.tags[1:])}" if each.tags[1:] else ""
        used = clock(each.used, self.now)
        return str(each.pulls), size(each.size), size(each.shared), used, each.names[0] + more


def list_images(layout: Layout, pattern: str, sort: Sort, counts: PullCounts | None = None) -> list[ListedImage]:
    """Return the images with a name that matches ``pattern``, "" for all of them. Raises StoreError.

    By name, or the largest, those used longest ago, or those pulled most often first, as ``counts`` has it.
    """
    with disk.store_errors("list the images"):
        found = [(folder, *image) for folder in repositories(layout) for image in _images(folder)]
        holders = Counter(digest for *_, digests in found for digest in digests)
        parts = {digest: stored_part(layout, digest) for digest in holders}
        listed = []
        for folder, top, tags, digests in found:
            repository = os.path.relpath(folder.path, layout.repositories)
            shared = sum(parts[digest].size for digest in digests if holders[digest] > 1)
            whole = sum(parts[digest].size for digest in digests)
            pulls = None if counts is None else counts.get((repository, str(top)), 0)
            # A signed manifest's bytes are one of its parts.
            used = parts[top].used or max(parts[digest].used for digest in digests)
            listed.append(ListedImage(repository, top, tags, whole, shared, used, pulls))
    return sorted((each for each in listed if _matches(each, pattern)), key=lambda each: _order(each, sort))


def _images(folder: RepositoryFolder) -> Iterator[tuple[Digest, Sequence[str], set[Digest]]]:
    """Yield each image's digest, tags, and the digests of all its parts."""
    graph = read_graph(folder)
    for top in graph.tops():
        yield top, graph.tags.get(top, ()), graph.closure([top])


def _order(each: ListedImage, sort: Sort) -> tuple[float, str]:
    keys = {"name": 0.0, "size": float(-each.size), "used": each.used, "pulls": float(-(each.pulls or 0))}
    return keys[sort], each.names[0]


def _matches(each: ListedImage, pattern: str) -> bool:
    """Whether the pattern is a part of a name, or with ``*`` and ``?`` means a whole one, or one from a slash on."""
    wanted = pattern.lower()
    # A digest stands behind a name wherever a command prints both.
    names = [*each.names, each.repository, f"{each.repository}@{each.digest}"]
    return any(
        wanted in name or fnmatch.fnmatchcase(name, wanted) or fnmatch.fnmatchcase(name, f"*/{wanted}")
        for name in map(str.lower, names)
    )


def stored_part(layout: Layout, digest: Digest) -> StoredPart:
    """Return what is here of a manifest or blob. Raises OSError."""
    found = disk.stat(layout.blob(digest))
    if found is None:
        return StoredPart(0, 0.0, False)
    return StoredPart(found.st_size, disk.last_use(found) / SECOND, found.st_nlink > _NAMES_OF_ONE)
