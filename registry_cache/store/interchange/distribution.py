"""Read the folder in which CNCF Distribution (``registry:2``, ``registry:3``) stores, without changing it.

    docker/registry/v2/
      blobs/sha256/ab/ab12…/data
      repositories/<name>/
        _layers/sha256/<hex>/link                   the repository has this blob
        _manifests/revisions/sha256/<hex>/link      and this manifest
        _manifests/tags/<tag>/current/link          what the tag means; its mtime is when it was last set
        _uploads/                                   not looked at
    scheduler-state.json                            not looked at

A link is a file with a digest in it. A proxy's cache drops blobs and keeps links to them: a missing blob is not
damage (distribution, registry/storage/paths.go; registry/proxy/scheduler).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from registry_cache.errors import RegistryError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Repository, Tag
from registry_cache.store import disk
from registry_cache.store.disk import entries

_BELOW = ("", "v2", "registry/v2", "docker/registry/v2")
# A link has 71 or 135 bytes; a larger file is something else.
_LINK_SIZE = 256

# ``problem(path, words)``: something that is there and cannot be understood.
Problem = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class DistributionTag:
    """What a tag means; ``at``: since when, in seconds since the epoch."""

    tag: Tag
    digest: Digest
    at: float


class DistributionFolder:
    """One such folder. What is iterated over raises OSError where it cannot be read."""

    def __init__(self, root: str, problem: Problem) -> None:
        self._root = root
        self._report = problem
        self._reported: set[str] = set()

    @classmethod
    def find(cls, path: Path, problem: Problem = lambda path, words: None) -> DistributionFolder | None:
        """Return the folder at ``path`` or where it may lie below; None where there is none."""
        for below in _BELOW:
            root = os.path.join(path, below) if below else str(path)
            if os.path.isdir(f"{root}/repositories") and os.path.isdir(f"{root}/blobs"):
                return cls(root, problem)
        return None

    def blob(self, digest: Digest) -> str:
        """Return the path of a blob's bytes; they may be missing."""
        return f"{self._root}/blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}/data"

    def size(self, digest: Digest) -> int | None:
        """Return a blob's size in bytes; None where it is missing. Raises OSError."""
        try:
            return os.stat(self.blob(digest)).st_size
        except FileNotFoundError:
            return None

    def repositories(self) -> Iterator[Repository]:
        """Yield every repository, in no order."""
        top = f"{self._root}/repositories"
        pending = [top]
        while pending:
            folder = pending.pop()
            found = [entry for entry in entries(folder) if entry.is_dir(follow_symlinks=False)]
            if {"_layers", "_manifests"} & {entry.name for entry in found}:
                try:
                    yield Repository.parse(os.path.relpath(folder, top))
                except RegistryError as error:
                    self._problem(folder, error.message)
            pending += [entry.path for entry in found if not entry.name.startswith(("_", "."))]

    def layers(self, repository: Repository) -> Iterator[Digest]:
        """Yield the blobs that a repository has."""
        return self._links(f"{self._root}/repositories/{repository}/_layers")

    def manifests(self, repository: Repository) -> Iterator[Digest]:
        """Yield the manifests and indexes that a repository has."""
        return self._links(f"{self._root}/repositories/{repository}/_manifests/revisions")

    def tags(self, repository: Repository) -> Iterator[DistributionTag]:
        """Yield what the tags of a repository mean."""
        for entry in entries(f"{self._root}/repositories/{repository}/_manifests/tags"):
            path = f"{entry.path}/current/link"
            try:
                tag, at = Tag.parse(entry.name), os.stat(path).st_mtime
            except (FileNotFoundError, NotADirectoryError):
                continue
            except RegistryError as error:
                self._problem(entry.path, error.message)
                continue
            if digest := self._link(path):
                yield DistributionTag(tag, digest, at)

    def _problem(self, path: str, words: str) -> None:
        # The import reads the names twice.
        if path not in self._reported:
            self._reported.add(path)
            self._report(path, words)

    def _links(self, folder: str) -> Iterator[Digest]:
        for algorithm in entries(folder):
            for entry in entries(algorithm.path):
                path = f"{entry.path}/link"
                digest = self._link(path)
                # An unlinked blob's folder stays behind, without the link.
                if digest and str(digest) == f"{algorithm.name}:{entry.name}":
                    yield digest
                elif digest:
                    self._problem(path, f"it leads to {digest}")

    def _link(self, path: str) -> Digest | None:
        data = disk.read_source(path, _LINK_SIZE)
        if data is None:
            if os.path.lexists(path):
                self._problem(path, "it is not a link")
            return None
        try:
            return Digest.parse(data.decode("ascii", "replace").strip())
        except RegistryError:
            self._problem(path, "it is empty" if not data else "it holds no digest")
            return None
