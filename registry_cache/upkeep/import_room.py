"""Limit how much an import may add: an archive of some kilobytes may unpack to more than any disk holds."""

from __future__ import annotations

from registry_cache.errors import StoreFull
from registry_cache.policy.eviction import Bounds, largest_blob
from registry_cache.store import inventory
from registry_cache.store.interchange.ingest import Rejected
from registry_cache.store.layout import Layout
from registry_cache.store.size_ledger import SizeLedger

# What an archive may hold besides blobs: headers, folders, files that are skipped.
_OTHER_BYTES = 64 * 1024 * 1024


class ImportRoom:
    """Counts what one import copies into a store with ``bounds``."""

    def __init__(self, layout: Layout, bounds: Bounds) -> None:
        """Look at the disk. Raises StoreError."""
        space = inventory.disk_space(layout.root)
        self._largest = largest_blob(SizeLedger(layout).total() or 0, space.free, bounds)
        self._limit = bounds.max_size
        self._copied = 0
        # All that an archive may unpack to.
        self.unpacked = (bounds.max_size or space.total) + _OTHER_BYTES

    def check(self, size: int) -> None:
        """Return where a blob of which ``size`` bytes were copied so far may go on. Raises Rejected, StoreFull."""
        if self._largest is not None and size > self._largest:
            raise Rejected(f"it is larger than one blob may be, {self._largest} bytes (storage.max_blob_percent)")
        if self._limit is not None and self._copied + size > self._limit:
            raise StoreFull(
                f"there is more to import than storage.max_size, {self._limit} bytes: it would evict what came first"
            )

    def count(self, size: int) -> None:
        """Count a blob of ``size`` bytes that was copied whole."""
        self._copied += size
