"""What ``registry-cache status`` says of the bucket, from the disk: what waits for it, and since when it is away."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from registry_cache.store.bucket_note import BucketNote, BucketTrouble
from registry_cache.store.layout import Layout
from registry_cache.store.outbox import Outbox, OutboxState
from registry_cache.upkeep.report import age, clock, counted, iso


@dataclass(frozen=True, slots=True)
class BucketStatus:
    """The bucket ``name``: what waits for it, and what is the matter with it, if anything."""

    name: str
    waits: OutboxState
    trouble: BucketTrouble | None

    def line(self, now: datetime) -> str:
        """Return what a person reads ``now``."""
        return f"{self.name} {self._state(now)}; {self._outbox(now)}"

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        oldest = self.waits.oldest
        return {
            "name": self.name,
            "state": "away" if self.trouble else "ok",
            "away_since": iso(self.trouble.since) if self.trouble else None,
            "cause": self.trouble.cause if self.trouble else None,
            "outbox": {"entries": self.waits.entries, "oldest_at": None if oldest is None else iso(oldest)},
        }

    def _state(self, now: datetime) -> str:
        if self.trouble is None:
            return "accepts what it is sent"
        since = f"{clock(self.trouble.since, now)} ({age(self.trouble.since, now)})"
        return f"has accepted nothing since {since}: {self.trouble.cause}"

    def _outbox(self, now: datetime) -> str:
        if self.waits.oldest is None:
            return "the outbox is empty"
        number = counted(self.waits.entries, "entry", "entries")
        return f"{number} in the outbox, the oldest since {clock(self.waits.oldest, now)}"


def read_bucket(layout: Layout, name: str) -> BucketStatus:
    """Return how the bucket ``name`` is; creates nothing on the disk. Raises StoreError."""
    return BucketStatus(name, Outbox(layout).state(), BucketNote(layout).read())
