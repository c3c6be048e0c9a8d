"""Import a storage folder of CNCF Distribution."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Repository
from registry_cache.store.interchange.distribution import DistributionFolder
from registry_cache.store.interchange.layout_source import reading_source
from registry_cache.upkeep.import_session import ImportSession


def import_distribution(session: ImportSession, source: DistributionFolder, place: str, upstream: str) -> None:
    """Import the repositories of ``source`` as ones of ``upstream``; messages call the source ``place``.

    Raises StoreError, StoreFull.
    """
    with reading_source(place):
        _Import(session, source, upstream).run()


class _Import:
    def __init__(self, session: ImportSession, source: DistributionFolder, upstream: str) -> None:
        self._session = session
        self._source = source
        self._upstream = upstream

    def run(self) -> None:
        repositories = sorted(self._source.repositories())
        sizes = self._sizes(repositories)
        self._session.total = sum(sizes.values())
        # All bytes first: a repository may share layers with one that comes later.
        for digest, size in sizes.items():
            self._blob(digest, size)
        self._session.settle()
        for repository in repositories:
            self._session.result.repositories += 1
            if self._session.dry_run:
                self._count(repository)
            else:
                self._names(FullName(self._upstream, repository))
        self._session.end()

    def _sizes(self, repositories: list[Repository]) -> dict[Digest, int]:
        """Return the size of each blob that is linked and present; count those that are linked and absent."""
        sizes: dict[Digest, int] = {}
        absent: set[Digest] = set()
        for repository in repositories:
            for digest in self._digests(repository):
                if digest in sizes or digest in absent:
                    continue
                size = self._source.size(digest)
                if size is None:
                    absent.add(digest)
                else:
                    sizes[digest] = size
        self._session.result.absent += len(absent)
        return sizes

    def _digests(self, repository: Repository) -> Iterator[Digest]:
        yield from self._source.layers(repository)
        yield from self._source.manifests(repository)

    def _blob(self, digest: Digest, size: int) -> None:
        self._session.blob(digest, size, lambda adoption: adoption.add_file(digest, self._source.blob(digest), size))

    def _names(self, destination: FullName) -> None:
        for digest in self._source.layers(destination.repository):
            self._session.member(destination, digest)
        for digest in self._source.manifests(destination.repository):
            self._session.manifest(destination, digest)
        for tagged in self._source.tags(destination.repository):
            self._session.tag(destination, tagged.tag, tagged.digest, datetime.fromtimestamp(tagged.at, UTC))

    def _count(self, repository: Repository) -> None:
        self._session.result.manifests += sum(1 for _ in self._source.manifests(repository))
        self._session.result.tags += sum(1 for _ in self._source.tags(repository))
