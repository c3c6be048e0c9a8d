"""How a cache is, put together from what lies on the disk: pure functions of facts and the time, and a JSON document.

What is on the disk may be old. A limit whose window is over says so, and an outage tells since when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol

from registry_cache.store.inventory import DiskSpace, StoreCounts, Unfinished

# The document's; a field may come new without a change of it, none is renamed or removed.
VERSION = 1

State = Literal["ok", "limited", "down"]


class Limits(Protocol):
    """What an upstream said of its limit; times in seconds since the epoch, None where it never said."""

    @property
    def limit(self) -> int | None: ...
    @property
    def window(self) -> int | None: ...
    @property
    def remaining(self) -> int | None: ...
    @property
    def source(self) -> str | None: ...
    @property
    def seen_at(self) -> float: ...
    @property
    def counted_until(self) -> float: ...
    @property
    def all_until(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Known:
    """What the disk tells of one upstream; ``down`` as its workers noted it, {} where they did not."""

    name: str
    url: str
    limits: Limits
    down: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Pulls:
    """How many pulls upstream said were ``left`` of ``limit``, at ``seen_at``; ``current``: that may be so still."""

    left: int
    limit: int
    window: int | None
    source: str | None
    seen_at: float
    current: bool


@dataclass(frozen=True, slots=True)
class Upstream:
    """One upstream. ``until``: the end of its limit, on ``everything`` or pulls alone; ``since``, ``cause``: down."""

    name: str
    url: str
    state: State
    pulls: Pulls | None
    until: float | None = None
    everything: bool = False
    since: float | None = None
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything, at ``now``. ``exists``: a store has been made under ``root``."""

    now: float
    upstreams: Sequence[Upstream]
    cached: StoreCounts
    transfers: Sequence[Unfinished]
    root: str
    exists: bool
    room: DiskSpace

    @property
    def used(self) -> int:
        """Bytes of the disk that manifests, blobs and unfinished blobs occupy; records are some more."""
        return self.cached.allocated + sum(each.bytes for each in self.transfers)


def upstream(known: Known, now: float) -> Upstream:
    """Decide what is true of an upstream ``now``."""
    limits, pulls = known.limits, _pulls(known.limits, now)
    since, cause = known.down.get("since"), known.down.get("cause")
    if isinstance(since, int | float):
        return Upstream(known.name, known.url, "down", pulls, since=since, cause=str(cause or ""))
    until = max(limits.all_until, limits.counted_until)
    if until > now:
        return Upstream(known.name, known.url, "limited", pulls, until=until, everything=limits.all_until > now)
    return Upstream(known.name, known.url, "ok", pulls)


def percent(transfer: Unfinished) -> int | None:
    """Return how much of a blob is here, 100 only for all of it; None where its size is unknown."""
    return min(100, transfer.bytes * 100 // transfer.size) if transfer.size else None


def document(report: Report) -> dict[str, object]:
    """Return the report as JSON values; docs/reference.md explains each."""
    cached = asdict(report.cached)
    del cached["allocated"]
    return {
        "version": VERSION,
        "at": _iso(report.now),
        "upstreams": [_upstream_document(each) for each in report.upstreams],
        "cached": cached,
        "transfers": [_transfer_document(each) for each in report.transfers],
        "store": {
            "root": report.root,
            "exists": report.exists,
            "used": report.used,
            "free": report.room.free,
            "total": report.room.total,
        },
    }


def _pulls(limits: Limits, now: float) -> Pulls | None:
    if limits.limit is None or limits.remaining is None:
        return None
    over = limits.window is not None and now >= limits.seen_at + limits.window
    # The end of a refusal is when upstream counts anew.
    lifted = limits.seen_at < limits.counted_until <= now
    return Pulls(
        limits.remaining,
        limits.limit,
        limits.window,
        limits.source,
        limits.seen_at,
        current=not (over or lifted),
    )


def _upstream_document(each: Upstream) -> dict[str, object]:
    pulls = each.pulls
    return {
        "name": each.name,
        "url": each.url,
        "state": each.state,
        "limited_until": _iso(each.until),
        "limited": None if each.until is None else "everything" if each.everything else "pulls",
        "down_since": _iso(each.since),
        "cause": each.cause or None,
        "pulls": pulls
        and {
            "left": pulls.left,
            "limit": pulls.limit,
            "window_seconds": pulls.window,
            "source": pulls.source,
            "seen_at": _iso(pulls.seen_at),
            "current": pulls.current,
        },
    }


def _transfer_document(each: Unfinished) -> dict[str, object]:
    return {
        "digest": str(each.digest),
        "upstream": each.upstream or None,
        "repository": each.repository or None,
        "state": "running" if each.running else "interrupted",
        "bytes": each.bytes,
        "size": each.size,
        "percent": percent(each),
        "error": each.error or None,
    }


def _iso(moment: float | None) -> str | None:
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
