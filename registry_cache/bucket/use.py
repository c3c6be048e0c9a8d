"""Hand on to the bucket, once a day, that blobs are used here: what a node keeps using must not be evicted there.

What is pinned counts as used. So pins hold in the bucket without anybody knowing them all: each node speaks for what it
has.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from registry_cache.bucket.errors import ObjectRefused
from registry_cache.errors import StoreError
from registry_cache.oci import object_keys
from registry_cache.runtime.log import Log
from registry_cache.store import atomic_write, disk
from registry_cache.store.last_use import UseSpreader, used_since
from registry_cache.store.layout import Layout
from registry_cache.store.pins import Pins

DAY_SECONDS = 86_400.0
# What was put more recently is not yet told again. With a day between two times, what is used is told every 36 hours at
# the latest, before it is old enough to be evicted (policy.shared_eviction.YOUNG_SECONDS).
_RECENT_SECONDS = DAY_SECONDS / 2

_log = Log(__name__)


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
    _use_pinned(layout, int(now * 10**9))
    for digest in used_since(layout, now - DAY_SECONDS):
        key = object_keys.blob(digest)
        try:
            modified = bucket.modified(key)
            if modified and modified.timestamp() < now - _RECENT_SECONDS:
                bucket.renew(key)
                told += 1
        except ObjectRefused:
            continue
    with disk.store_errors("note when use was handed on"):
        atomic_write.write_whole(layout.last_hand_on, b"", modified=int(now * 10**9))
    return told


def _use_pinned(layout: Layout, moment: int) -> None:
    """Note that what is pinned here is used, with all that belongs to it."""
    spread = UseSpreader(layout)
    try:
        with disk.store_errors("look what is pinned"):
            for digest in Pins(layout).digests():
                spread.note_use(digest, moment)
            spread.run()
    except StoreError as error:
        # What clients use must be told all the same.
        _log.error("cannot tell the bucket what is pinned", error=error)
