"""What a cleanup tells: a table and a line for people, a document for programs, an exit status for cron."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Literal

from registry_cache.policy.eviction import SECOND
from registry_cache.upkeep.cleanup import MOST_NAMED, Candidate, Result
from registry_cache.upkeep.status_text import clock, printable, size

VERSION = 1

State = Literal["done", "planned", "running", "stopped", "over"]
# What cron and monitoring see. 1 is a store that failed, 2 a configuration that is wrong.
EXIT: dict[State, int] = {"done": 0, "planned": 0, "running": 0, "stopped": 3, "over": 3}

_COLUMNS = ("WHAT", "SIZE", "LAST USED", "WHY")


@dataclass(frozen=True, slots=True)
class Report:
    """A pass at ``now``, in seconds since the epoch; ``result`` is None where another one is at it."""

    now: float
    result: Result | None
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


def lines(report: Report, zone: tzinfo | None) -> Iterator[str]:
    """Yield the table of a dry run, and the line that sums a pass up."""
    found = report.result
    if found is None:
        yield "another cleanup is running: nothing to do"
        return
    if found.candidates:
        yield from map(printable, _table(found.candidates, report.now, zone))
    if report.dry_run and found.evicted > len(found.candidates):
        yield f"and {found.evicted - len(found.candidates)} more: these are the {MOST_NAMED} used longest ago"
    yield _summary(found, report)


def document(report: Report) -> dict[str, object]:
    """Return the report as JSON values; docs/disk.md explains each."""
    found = report.result or Result()
    return {
        "version": VERSION,
        "at": _iso(report.now),
        "state": report.state,
        "dry_run": report.dry_run,
        "blobs": found.blobs,
        "bytes": found.stored,
        "evicted": {"blobs": found.evicted, "bytes": found.evicted_bytes, "names": found.names},
        "leftovers": found.leftovers,
        "in_use": found.in_use,
        "over": found.over,
        "candidates": [
            {
                "digest": str(each.digest),
                "what": each.what,
                "bytes": each.size,
                "last_used": _iso(each.used / SECOND),
                "why": each.why,
            }
            for each in found.candidates
        ],
    }


def _summary(found: Result, report: Report) -> str:
    verb = "would evict" if report.dry_run else "evicted"
    parts = [f"{verb} {found.evicted} of {found.blobs} blobs, {size(found.evicted_bytes)} of {size(found.stored)}"]
    if found.names:
        parts.append(f"{found.names} names and records")
    if found.leftovers:
        parts.append(f"{found.leftovers} leftovers")
    if found.in_use:
        parts.append(f"{found.in_use} were in use and stay")
    if found.over:
        parts.append(f"{size(found.over)} are still too much")
    if not found.complete and (found.planned or report.dry_run):
        parts.append("stopped by --max-time: the next pass goes on")
    elif not found.complete:
        parts.append("stopped by --max-time before it was known what must go: give it longer")
    return "; ".join(parts)


def _table(candidates: list[Candidate], now: float, zone: tzinfo | None) -> Iterator[str]:
    rows = [_COLUMNS, *(_row(each, now, zone) for each in candidates)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for what, size_, used, why in rows:
        yield f"{what:{widths[0]}}  {size_:>{widths[1]}}  {used:{widths[2]}}  {why}"


def _row(each: Candidate, now: float, zone: tzinfo | None) -> tuple[str, str, str, str]:
    name = f"{each.digest.algorithm}:{each.digest.hex[:12]} {each.what}"
    return name, size(each.size), clock(each.used / SECOND, now, zone), each.why


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
