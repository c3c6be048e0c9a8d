"""Which repositories hold a blob, in words for people: the names of the store, read backwards."""

from __future__ import annotations

import os
from collections.abc import Iterator

from registry_cache.errors import DigestInvalid
from registry_cache.oci.digest import Digest
from registry_cache.store.last_use import Tick, entries, named_manifests, repositories
from registry_cache.store.layout import Layout


def owners(layout: Layout, wanted: set[Digest], tick: Tick = lambda: None) -> dict[Digest, str]:
    """Return what each of ``wanted`` is, and of which repository: "blob of docker.io/library/nginx and 3 more".

    The first by name. Reads the names of every repository. Raises OSError.
    """
    found: dict[Digest, tuple[str, str, int]] = {}
    for folder in repositories(layout):
        tick()
        repository = os.path.relpath(folder, layout.repositories)
        # One that is here under two names is one repository's all the same.
        for digest, what in dict(_named(folder)).items():
            if digest in wanted:
                known = found.get(digest, (repository, what, -1))
                found[digest] = (*min(known[:2], (repository, what)), known[2] + 1)
    return {
        digest: f"{what} of {repository}" + (f" and {more} more" if more else "")
        for digest, (repository, what, more) in found.items()
    }


def _named(folder: str) -> Iterator[tuple[Digest, str]]:
    for algorithm in entries(f"{folder}/_blobs"):
        for entry in entries(algorithm.path):
            try:
                yield Digest.parse(f"{algorithm.name}:{entry.name}"), "blob"
            except DigestInvalid:
                continue
    for _, digest, kind in named_manifests(folder):
        yield digest, "index" if kind.endswith("-index") else "manifest"
