"""Which blobs of the store were used lately."""

from __future__ import annotations

from collections.abc import Iterator

from registry_cache.errors import DigestInvalid
from registry_cache.oci.digest import Digest
from registry_cache.store import disk
from registry_cache.store.layout import ALGORITHMS, Layout


def used_since(layout: Layout, since: float) -> Iterator[Digest]:
    """Yield the blobs that were used after ``since``, in seconds since the epoch. Raises StoreError."""
    with disk.store_errors("look which blobs are used"):
        for algorithm in ALGORITHMS:
            for folder in disk.entries(f"{layout.blobs}/{algorithm}"):
                for entry in disk.entries(folder.path):
                    found = disk.stat(entry.path)
                    if found and disk.last_use(found) > since * 10**9 and (digest := _digest(algorithm, entry.name)):
                        yield digest


def _digest(algorithm: str, name: str) -> Digest | None:
    try:
        return Digest.parse(f"{algorithm}:{name}")
    except DigestInvalid:
        return None
