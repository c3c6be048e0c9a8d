"""Remove an image or a digest at once: names first, parents before children, then the bytes that nobody else has.

Safe beside a running server: a reader keeps its descriptor, and bytes that somebody has locked stay. What is pinned is
not removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Tag
from registry_cache.store import disk
from registry_cache.store.eviction import evict_blob
from registry_cache.store.image_graph import ImageGraph, read_graph
from registry_cache.store.last_use import StoredBlob
from registry_cache.store.layout import REFERRERS, TAGS, Layout
from registry_cache.store.pins import Pins
from registry_cache.store.repositories import RepositoryFolder, repositories


class Pinned(StoreError):
    """What was to be removed is pinned; the message says by what."""


@dataclass(slots=True)
class RemovalResult:
    """``names`` and ``blobs`` that are gone, and the ``bytes`` of these; ``shared`` blobs stay with other images.

    ``in_use``: blobs that stay because somebody had locked them; the next cleanup evicts them.
    """

    names: int = 0
    blobs: int = 0
    bytes: int = 0
    shared: int = 0
    in_use: int = 0


class Removal:
    """Removes from one store. Its methods raise StoreError, and Pinned before anything is removed."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.result = RemovalResult()

    def tag(self, name: FullName, tag: Tag) -> bool:
        """Remove a tag, and its image if no other tag and no index of the repository names it; False if not here."""
        with disk.store_errors(f"remove {name.repository}:{tag}"):
            folder = RepositoryFolder(self._layout.repository(name))
            graph = read_graph(folder)
            digest = next((digest for digest, tags in graph.tags.items() if tag in tags), None)
            if digest is None:
                return False
            self._refuse_pinned(digest)
            self._unlink(self._layout.tag(name, tag))
            named = any(digest in children for children in graph.children.values())
            if not named and len(graph.tags[digest]) == 1:
                self._free(self._remove_image(folder, graph, digest))
            return True

    def digest(self, digest: Digest, name: FullName | None = None) -> bool:
        """Remove a manifest or a blob everywhere, or from one repository; False if it is not here."""
        with disk.store_errors(f"remove {digest}"):
            folders = self._folders(digest, name)
            stored = name is None and os.path.exists(self._layout.blob(digest))
            if not folders and not stored:
                return False
            self._refuse_pinned(digest)
            doomed = {digest}
            for folder in folders:
                doomed |= self._remove_image(folder, read_graph(folder), digest)
            self._free(doomed)
            return True

    def _folders(self, digest: Digest, name: FullName | None) -> list[RepositoryFolder]:
        if name is not None:
            found = [RepositoryFolder(self._layout.repository(name))]
        else:
            found = list(repositories(self._layout))
        return [folder for folder in found if _has(folder, digest)]

    def _remove_image(self, folder: RepositoryFolder, graph: ImageGraph, digest: Digest) -> set[Digest]:
        """Remove the repository's names of ``digest``, and of what it names alone; return their digests."""
        rest = graph.without(digest)
        # Its children are no images of their own now, although nothing names them any more.
        kept = rest.closure(set(graph.tops()) - {digest} | set(rest.tags))
        doomed = graph.closure([digest]) - kept | {digest}
        for tag in graph.tags.get(digest, ()):
            self._unlink(f"{folder.path}/{TAGS}/{tag}.json")
        for each in _parents_first(graph, doomed, digest):
            self._unlink(f"{folder.path}/{REFERRERS}/{each.algorithm}/{each.hex}.json")
            self._unlink(folder.manifest(each, "json"))
            for name in folder.names_of(each):
                self._unlink(name)
        return doomed

    def _free(self, digests: Iterable[Digest]) -> None:
        """Unlink the bytes that no repository names any more."""
        waiting = set(digests)
        for folder in repositories(self._layout):
            shared = {digest for digest in waiting if _has(folder, digest)}
            self.result.shared += len(shared)
            waiting -= shared
        for digest in waiting:
            found = disk.stat(self._layout.blob(digest))
            if found is None:
                continue
            if evict_blob(self._layout, StoredBlob(digest, found.st_size, 0), lambda used, hex: True):
                self.result.blobs += 1
                self.result.bytes += found.st_size
            else:
                self.result.in_use += 1

    def _refuse_pinned(self, digest: Digest) -> None:
        """Raise Pinned if a pin holds ``digest`` or an image that needs it."""
        pins = Pins(self._layout)
        holders = {held.digest: pin for pin in pins.all() for held in pins.pinned_by(pin)}
        for folder in repositories(self._layout) if holders else ():
            graph = read_graph(folder)
            for held, pin in holders.items():
                if held == digest or (held in graph.children and digest in graph.closure([held])):
                    name = f"{pin.upstream}/{pin.image}"
                    raise Pinned(f"{digest} is pinned by {name}: registry-cache unpin takes the pin back")

    def _unlink(self, path: str) -> None:
        self.result.names += disk.remove(path)


def _has(folder: RepositoryFolder, digest: Digest) -> bool:
    return any(map(os.path.lexists, folder.names_of(digest)))


def _parents_first(graph: ImageGraph, digests: set[Digest], top: Digest) -> Iterator[Digest]:
    """Yield ``digests``: the top, then its manifests, then blobs, so that no name leads to what is gone."""
    yield top
    rest = digests - {top}
    yield from (digest for digest in rest if digest in graph.children)
    yield from (digest for digest in rest if digest not in graph.children)
