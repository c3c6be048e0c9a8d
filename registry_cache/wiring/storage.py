"""Build what keeps the store within its bounds, and what is known of it."""

from __future__ import annotations

from dataclasses import replace

from registry_cache.api.health import Readiness
from registry_cache.api.metrics import StoreState
from registry_cache.config import Config
from registry_cache.deployment import nginx
from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.policy.eviction import Bounds
from registry_cache.runtime import metrics
from registry_cache.stats.statistics import Statistics
from registry_cache.store import inventory
from registry_cache.store.last_runs import read_last_runs
from registry_cache.store.layout import Layout
from registry_cache.store.readiness import ReadinessProbe
from registry_cache.store.size_ledger import SizeLedger
from registry_cache.upkeep.cleanup_process import CleanupProcess
from registry_cache.upkeep.size_keeper import SizeKeeper, SpaceNeeded
from registry_cache.upstream.bucket import BucketReader


def store_state(layout: Layout, ledger: SizeLedger) -> StoreState | None:
    try:
        space = inventory.disk_space(layout.root)
    except StoreError:
        return None
    runs = read_last_runs(layout)
    return StoreState(ledger.total(), space.total, space.free, runs.cleanup, runs.verify, runs.damage)


def scraped_state(layout: Layout, ledger: SizeLedger, statistics: Statistics) -> StoreState | None:
    state = store_state(layout, ledger)
    try:
        return replace(state, clients_gone=len(statistics.clients_gone())) if state else None
    except StoreError:
        return state


def readiness_of(probe: ReadinessProbe, bucket: BucketReader | None) -> Readiness:
    word = probe.check()
    beside = {} if bucket is None else {"bucket": "away" if bucket.outage.is_away else "ok"}
    # On a full disk pulls still work, uncached; from a store that is gone or broken clients must be sent elsewhere.
    return Readiness(word != "failing", word, beside)


def nginx_name(layout: Layout, digest: Digest) -> str:
    return nginx.BLOBS + layout.blob(digest).removeprefix(f"{layout.blobs}/")


def keeper_of(config: Config, layout: Layout) -> SizeKeeper:
    limits = bounds(config, layout)
    process = CleanupProcess(config.root, limits, config.log.level, config.log.formatter)

    def evict(needed: SpaceNeeded) -> int | None:
        blobs, size, pinned = process.run(needed)
        metrics.count_evictions(blobs, size)
        return pinned

    return SizeKeeper(layout, limits, evict)


def bounds(config: Config, layout: Layout) -> Bounds:
    """Return the bounds that a cleanup holds the store to. Raises StoreError."""
    total = inventory.disk_space(layout.root).total
    reserved = {each.name: each.reserved_size.bytes_of(total) for each in config.upstreams}
    return Bounds(
        config.ttl,
        config.max_size.bytes_of(total),
        config.min_free.bytes_of(total),
        config.max_blob_percent,
        {name: size for name, size in reserved.items() if size},
    )
