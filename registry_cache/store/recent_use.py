"""Which blobs of the store were used lately."""

from __future__ import annotations

from collections.abc import Iterator

from registry_cache.oci.digest import Digest
from registry_cache.store import disk
from registry_cache.store.last_use import stored_blobs
from registry_cache.store.layout import Layout


def used_since(layout: Layout, since: float) -> Iterator[Digest]:
    """Yield the blobs that were used after ``since``, in seconds since the epoch. Raises StoreError."""
    with disk.store_errors("look which blobs are used"):
        for digest, entry in stored_blobs(layout):
            found = disk.stat(entry.path)
            if found and disk.last_use(found) > since * 10**9:
                yield digest
