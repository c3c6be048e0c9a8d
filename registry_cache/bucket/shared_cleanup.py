"""Hold the bucket to its size: ``registry-cache cleanup --shared``. Safe beside nodes that read, and to run twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from registry_cache.bucket.stored_object import StoredObject
from registry_cache.policy.shared_eviction import SharedObject, SharedPlan, plan


class Shelf(Protocol):
    """What a cleanup needs of a bucket; raises BucketAway and ObjectRefused."""

    def find(self, prefix: str = "") -> Iterator[StoredObject]: ...
    def delete(self, keys: list[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class SharedCleanupReport:
    """What went from the bucket, or would go (``dry_run``), to hold it to ``max_size`` bytes."""

    plan: SharedPlan
    max_size: int
    dry_run: bool

    @property
    def exit_status(self) -> int:
        return 3 if self.plan.over else 0

    def lines(self) -> Iterator[str]:
        went = "would evict" if self.dry_run else "evicted"
        found = self.plan
        gone = f"{went} {len(found.blobs)} blobs, {found.evicted} bytes"
        yield f"the bucket has {found.stored} bytes of {self.max_size}: {gone}"
        if found.over:
            yield f"{found.over} bytes more than cluster.max_size are younger than two days and stay"

    def document(self) -> dict[str, object]:
        return {
            "dry_run": self.dry_run,
            "stored_bytes": self.plan.stored,
            "max_size": self.max_size,
            "evicted_blobs": len(self.plan.blobs),
            "evicted_bytes": self.plan.evicted,
            "over_bytes": self.plan.over,
        }


@dataclass(frozen=True, slots=True)
class LeftToAnother:
    """Nothing was done: ``node`` does it now, or has done it some minutes ago."""

    node: str

    @property
    def exit_status(self) -> int:
        return 0

    def lines(self) -> Iterator[str]:
        yield f"{self.node} holds the bucket to its size, or has just done so; nothing was done here"

    def document(self) -> dict[str, object]:
        return {"left_to": self.node}


def clean(shelf: Shelf, max_size: int, now: float, *, dry_run: bool) -> SharedCleanupReport:
    """Evict what was used longest ago. Raises BucketAway, ObjectRefused."""
    found = plan((SharedObject(each.key, each.size, each.modified.timestamp()) for each in shelf.find()), max_size, now)
    if not dry_run:
        # A name whose blob is gone sends a node there in vain; a blob without a name is only room.
        shelf.delete(found.names)
        shelf.delete(found.blobs)
    return SharedCleanupReport(found, max_size, dry_run)
