"""What a cleanup reports: a table and a line for people, a document for programs, an exit status for cron."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from registry_cache.policy.eviction import SECOND
from registry_cache.upkeep.cleanup import Candidate, CleanupResult
from registry_cache.upkeep.report import MOST_NAMED, clock, counted, iso, short, size, table

State = Literal["done", "planned", "running", "stopped", "over"]
_EXIT_STATUS: dict[State, int] = {"done": 0, "planned": 0, "running": 0, "stopped": 3, "over": 3}


@dataclass(frozen=True, slots=True)
class CleanupReport:
    """A cleanup at ``now``, in the reader's time zone; ``result`` is None where another one is running."""

    now: datetime
    result: CleanupResult | None
    dry_run: bool = False

    @property
    def state(self) -> State:
        if self.result is None:
            return "running"
        if not self.result.complete:
            return "stopped"
        if self.result.over:
            return "over"
        return "planned" if self.dry_run else "done"

    @property
    def exit_status(self) -> int:
        return _EXIT_STATUS[self.state]

    def lines(self) -> Iterator[str]:
        """Yield the table of a dry run, and the line that sums up."""
        result = self.result
        if result is None:
            yield "another cleanup is running: nothing to do"
            return
        if result.candidates:
            yield from table([("WHAT", "SIZE", "LAST USED", "WHY"), *map(self._row, result.candidates)], right={1})
        if self.dry_run and result.evicted > len(result.candidates):
            yield f"and {result.evicted - len(result.candidates)} more: these are the {MOST_NAMED} used longest ago"
        yield "; ".join(self._summary(result))

    def document(self) -> dict[str, object]:
        """docs/disk.md explains each value."""
        result = self.result or CleanupResult()
        return {
            "at": iso(self.now.timestamp()),
            "state": self.state,
            "dry_run": self.dry_run,
            "blobs": result.blobs,
            "bytes": result.stored,
            "evicted": {"blobs": result.evicted, "bytes": result.evicted_bytes, "names": result.names},
            "leftovers": result.leftovers,
            "in_use": result.in_use,
            "over": result.over,
            "candidates": [_candidate(each) for each in result.candidates],
        }

    def _summary(self, result: CleanupResult) -> Iterator[str]:
        verb = "would evict" if self.dry_run else "evicted"
        sizes = f"{size(result.evicted_bytes)} of {size(result.stored)}"
        yield f"{verb} {result.evicted} of {counted(result.blobs, 'blob')}, {sizes}"
        if result.names:
            yield counted(result.names, "name or record", "names and records")
        if result.leftovers:
            yield counted(result.leftovers, "leftover")
        if result.in_use:
            yield counted(result.in_use, "was in use and stays", "were in use and stay")
        if result.over:
            yield f"{size(result.over)} is still too much"
        if not result.complete and (result.planned or self.dry_run):
            yield "stopped by --max-time: the next pass goes on"
        elif not result.complete:
            yield "stopped by --max-time before it was known what must go: give it longer"

    def _row(self, each: Candidate) -> tuple[str, str, str, str]:
        name = f"{short(each.digest)} {each.what}"
        return name, size(each.size), clock(each.used / SECOND, self.now), each.why


def _candidate(each: Candidate) -> dict[str, object]:
    used = iso(each.used / SECOND)
    return {"digest": str(each.digest), "what": each.what, "bytes": each.size, "last_used": used, "why": each.why}
