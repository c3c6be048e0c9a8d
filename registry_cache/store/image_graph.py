"""How the tags, manifests and blobs of one repository hang together, read from its records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from registry_cache.oci.digest import Digest
from registry_cache.store import disk, record_format
from registry_cache.store.last_use import children_of
from registry_cache.store.repositories import RepositoryFolder


@dataclass(frozen=True, slots=True)
class ImageGraph:
    """``tags`` by the digest that they mean; ``children`` of each manifest that is here."""

    tags: Mapping[Digest, Sequence[str]]
    children: Mapping[Digest, Sequence[Digest]]

    def tops(self) -> list[Digest]:
        """Return the images: the manifests here that have a tag, or that no other manifest names."""
        named = {child for children in self.children.values() for child in children}
        return [digest for digest in self.children if digest in self.tags or digest not in named]

    def closure(self, tops: Iterable[Digest]) -> set[Digest]:
        """Return the digests of ``tops`` and of everything that they name, whether it is here or not."""
        found: set[Digest] = set()
        pending = list(tops)
        while pending:
            digest = pending.pop()
            if digest not in found:
                found.add(digest)
                pending += self.children.get(digest, ())
        return found

    def without(self, digest: Digest) -> ImageGraph:
        """Return the graph as it is when a manifest and its tags are gone."""
        tags = {each: tags for each, tags in self.tags.items() if each != digest}
        children = {each: below for each, below in self.children.items() if each != digest}
        return ImageGraph(tags, children)


def read_graph(folder: RepositoryFolder) -> ImageGraph:
    """Return what the records in ``folder`` say; a tag's that cannot be read says nothing. Raises OSError."""
    tags: dict[Digest, list[str]] = defaultdict(list)
    for entry in folder.tags():
        if digest := record_format.tag_digest(disk.read_whole(entry.path)):
            tags[digest].append(entry.name.removesuffix(".json"))
    children = {
        digest: children_of(entry.path, folder.manifest(digest, "json")) for entry, digest, _ in folder.manifests()
    }
    return ImageGraph({digest: sorted(names) for digest, names in tags.items()}, children)
