"""Find the blobs that stay although room is needed, because a part of the store is reserved for their upstream.

Without it, whoever publishes much at one registry could have everything of the others evicted.
"""

from __future__ import annotations

from collections.abc import Mapping

from registry_cache.policy.eviction import newest
from registry_cache.store.last_use import Tick, UseSpreader, short_key
from registry_cache.store.layout import Layout
from registry_cache.store.repositories import repositories


def reserved_blobs(layout: Layout, sizes: Mapping[str, int], spread: UseSpreader, tick: Tick) -> set[int]:
    """Return short keys of what each upstream used last, up to its size in bytes; ``sizes`` by upstream.

    What two upstreams have counts for both. Raises OSError.
    """
    kept: set[int] = set()
    for upstream, size in sizes.items():
        names = _short_keys(layout, upstream, tick)
        blobs = ((blob.used, blob.size, short_key(blob.digest.hex)) for blob in spread.blobs(tick))
        kept |= newest((blob for blob in blobs if blob[2] in names), size)
    return kept


def _short_keys(layout: Layout, upstream: str, tick: Tick) -> set[int]:
    """Return short keys of all manifests and blobs that repositories of ``upstream`` have."""
    found: set[int] = set()
    for folder in repositories(layout, upstream):
        tick()
        found.update(short_key(digest.hex) for _, digest, _ in folder.manifests())
        found.update(short_key(entry.name) for _, entry in folder.memberships())
    return found
