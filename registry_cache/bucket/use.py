"""Hand on to the bucket, once a day, that blobs are used here: what a node keeps using must not be evicted there."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from registry_cache.bucket.errors import ObjectRefused
from registry_cache.oci import object_keys
from registry_cache.store import atomic_write, disk
from registry_cache.store.layout import Layout
from registry_cache.store.recent_use import used_since

DAY_SECONDS = 86_400.0


class Renewable(Protocol):
    """What handing on needs of a bucket; raises BucketAway and ObjectRefused."""

    def modified(self, key: str) -> datetime | None: ...
    def renew(self, key: str) -> None: ...


def is_due(layout: Layout, now: float) -> bool:
    """Return whether it is a day since the last time. Raises StoreError."""
    with disk.store_errors("look when use was handed on"):
        found = disk.stat(layout.last_hand_on)
    return found is None or found.st_mtime < now - DAY_SECONDS


def hand_on(layout: Layout, bucket: Renewable, now: float) -> int:
    """Let blobs that were used within a day count as used in the bucket, too; return how many had to be told.

    One that is refused, as one too large to be copied is, stays as it was. Raises StoreError, BucketAway.
    """
    told = 0
    for digest in used_since(layout, now - DAY_SECONDS):
        key = object_keys.blob(digest)
        try:
            modified = bucket.modified(key)
            if modified and modified.timestamp() < now - DAY_SECONDS:
                bucket.renew(key)
                told += 1
        except ObjectRefused:
            continue
    with disk.store_errors("note when use was handed on"):
        atomic_write.write_whole(layout.last_hand_on, b"", modified=int(now * 10**9))
    return told
