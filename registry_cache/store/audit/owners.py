"""Say which repositories hold a blob, by searching the names in all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

from registry_cache.errors import DigestInvalid
from registry_cache.oci.digest import Digest
from registry_cache.store.last_use import Tick
from registry_cache.store.layout import Layout
from registry_cache.store.repositories import RepositoryFolder, repositories


def owners(layout: Layout, wanted: set[Digest], tick: Tick = lambda: None) -> dict[Digest, str]:
    """Return what each of ``wanted`` is, and of which repository: "blob of docker.io/library/nginx and 3 more".

    The repository is the first by name. Reads the names of every repository. Raises OSError.
    """
    found: dict[Digest, tuple[str, str, int]] = {}
    for folder in repositories(layout):
        tick()
        repository = os.path.relpath(folder.path, layout.repositories)
        # A digest with two names in one repository counts once.
        for digest, role in dict(_names(folder)).items():
            if digest in wanted:
                known = found.get(digest, (repository, role, -1))
                found[digest] = (*min(known[:2], (repository, role)), known[2] + 1)
    return {
        digest: f"{role} of {repository}" + (f" and {more} more" if more else "")
        for digest, (repository, role, more) in found.items()
    }


def _names(folder: RepositoryFolder) -> Iterator[tuple[Digest, str]]:
    for algorithm, entry in folder.memberships():
        try:
            yield Digest.parse(f"{algorithm}:{entry.name}"), "blob"
        except DigestInvalid:
            continue
    for _, digest, kind in folder.manifests():
        yield digest, "index" if kind.endswith("-index") else "manifest"
