"""An import of a folder that CNCF Distribution has stored in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Repository
from registry_cache.store.interchange.distribution import DistributionFolder
from registry_cache.store.interchange.layout_source import reading_source
from registry_cache.upkeep.importer import MovingIn, Place


def import_distribution(moving: MovingIn, source: DistributionFolder, place: str, upstream: str) -> None:
    """Bring what the repositories of ``source`` have, which belong to ``upstream``; ``place`` is what it is called.

    Raises StoreError, StoreFull.
    """
    with reading_source(place):
        _Import(moving, source, upstream).run()


class _Import:
    def __init__(self, moving: MovingIn, source: DistributionFolder, upstream: str) -> None:
        self._moving = moving
        self._source = source
        self._upstream = upstream

    def run(self) -> None:
        repositories = sorted(self._source.repositories())
        sizes = self._sizes(repositories)
        self._moving.total = sum(sizes.values())
        # All bytes first: a repository may have layers that it shares with one that comes later.
        for digest, size in sizes.items():
            self._blob(digest, size)
        self._moving.settle()
        for repository in repositories:
            self._moving.result.repositories += 1
            if self._moving.rehearses:
                self._count(repository)
            else:
                self._names(Place(self._upstream, repository))

    def _sizes(self, repositories: list[Repository]) -> dict[Digest, int]:
        """Return what is linked and there, and its bytes; count what is linked and not there."""
        sizes: dict[Digest, int] = {}
        absent: set[Digest] = set()
        for repository in repositories:
            for digest in self._linked(repository):
                if digest in sizes or digest in absent:
                    continue
                size = self._source.size(digest)
                if size is None:
                    absent.add(digest)
                else:
                    sizes[digest] = size
        self._moving.result.absent += len(absent)
        return sizes

    def _linked(self, repository: Repository) -> Iterator[Digest]:
        yield from self._source.layers(repository)
        yield from self._source.manifests(repository)

    def _blob(self, digest: Digest, size: int) -> None:
        self._moving.blob(digest, size, lambda adoption: adoption.add_file(digest, self._source.blob(digest), size))

    def _names(self, place: Place) -> None:
        for digest in self._source.layers(place.repository):
            self._moving.member(place, digest)
        for digest in self._source.manifests(place.repository):
            self._moving.manifest(place, digest)
        for tagged in self._source.tags(place.repository):
            self._moving.tag(place, tagged.tag, tagged.digest, datetime.fromtimestamp(tagged.at, UTC))

    def _count(self, repository: Repository) -> None:
        self._moving.result.manifests += sum(1 for _ in self._source.manifests(repository))
        self._moving.result.tags += sum(1 for _ in self._source.tags(repository))
