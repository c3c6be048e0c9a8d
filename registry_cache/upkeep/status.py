"""Decide the state of an upstream from what its workers noted on the disk. Pure.

What is on the disk may be old. A limit whose window is over says so, and an outage says since when.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

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
class KnownUpstream:
    """What the disk says about one upstream; ``down`` as its workers noted it, {} where they did not."""

    name: str
    url: str
    limits: Limits
    down: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PullCount:
    """How many pulls were ``left`` of ``limit``, as upstream said at ``seen_at``; ``current``: that may still be so."""

    left: int
    limit: int
    window: int | None
    source: str | None
    seen_at: float
    current: bool


@dataclass(frozen=True, slots=True)
class UpstreamStatus:
    """One upstream. ``until``: the end of its limit, on ``everything`` or pulls alone; ``since``, ``cause``: down."""

    name: str
    url: str
    state: State
    pulls: PullCount | None
    until: float | None = None
    everything: bool = False
    since: float | None = None
    cause: str = ""


def upstream_status(known: KnownUpstream, now: float) -> UpstreamStatus:
    """Decide what is true of an upstream ``now``."""
    limits, pulls = known.limits, _pulls(known.limits, now)
    since, cause = known.down.get("since"), known.down.get("cause")
    if isinstance(since, int | float):
        return UpstreamStatus(known.name, known.url, "down", pulls, since=since, cause=str(cause or ""))
    until = max(limits.all_until, limits.counted_until)
    if until > now:
        return UpstreamStatus(known.name, known.url, "limited", pulls, until=until, everything=limits.all_until > now)
    return UpstreamStatus(known.name, known.url, "ok", pulls)


def _pulls(limits: Limits, now: float) -> PullCount | None:
    if limits.limit is None or limits.remaining is None:
        return None
    over = limits.window is not None and now >= limits.seen_at + limits.window
    # When a refusal ends, upstream begins a new count.
    lifted = limits.seen_at < limits.counted_until <= now
    current = not (over or lifted)
    return PullCount(limits.remaining, limits.limit, limits.window, limits.source, limits.seen_at, current)
