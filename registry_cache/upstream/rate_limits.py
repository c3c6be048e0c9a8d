"""The rate limit that an upstream tells us of, and which requests it therefore stops (P24, P25).

Docker Hub counts manifest GETs (``ratelimit-limit: 100;w=21600``, ``ratelimit-remaining: 7;w=21600``). HEADs and blobs
are free, so a limit on GETs leaves those alone; a 429 to anything else stops everything.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

# How long a 429 without Retry-After stops requests; then one request finds out.
DEFAULT_WAIT_SECONDS = 10.0
# A limit may be lifted before its time, as by a new plan: one free request in so many seconds finds out.
LOOK_SECONDS = 60.0
# An image's layers are asked for all at once, which is more than some registries take of one address in a second (P69).
# What is refused so is worth a wait of a second, or what upstream says if that is soon: clients would give up, and a
# limit that is noted refuses the other layers as well.
BURST_SECONDS, MAX_BURST_SECONDS = 1.0, 2.0

_QUANTITY = re.compile(r"\s*([0-9]{1,12})(?:\s*;\s*w=([0-9]{1,9}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limits:
    """What is known of an upstream's limit. Times are seconds since the epoch; None where upstream never said.

    ``limit`` pulls in ``window`` seconds, ``remaining`` of them left at ``seen_at``, counted for ``source`` (an address
    or an account). Until ``counted_until`` counted pulls are refused, until ``all_until`` everything is. ``refused_at``
    a request was refused last, and ``looked_at`` one went out to see whether the limit is still there.
    """

    limit: int | None = None
    window: int | None = None
    remaining: int | None = None
    source: str | None = None
    seen_at: float = 0.0
    counted_until: float = 0.0
    all_until: float = 0.0
    refused_at: float = 0.0
    looked_at: float = 0.0

    def look_is_due(self, now: float) -> bool:
        """Return whether something is refused, and nobody has looked for a while whether it still would be."""
        since = max(self.refused_at, self.looked_at)
        return self.blocked_until(counted=True) > now and not 0 <= now - since < LOOK_SECONDS

    def blocked_until(self, *, counted: bool) -> float:
        """Return until when a request would be refused; a time in the past means that it would not."""
        return max(self.all_until, self.counted_until if counted else 0.0)

    @property
    def low(self) -> bool:
        """Whether less than a quarter of the limit is left."""
        return self.limit is not None and self.remaining is not None and self.remaining * 4 < self.limit

    def words(self) -> str:
        """Return what is known, for a person."""
        known = []
        if self.limit is not None and self.remaining is not None:
            hours = f" in {self.window / 3600:g} h" if self.window else ""
            known.append(f"{self.remaining} of {self.limit} pulls left{hours}")
        if self.source:
            known.append(f"counted for {self.source}")
        return ", ".join(known)


def burst_wait(retry_after: float | None) -> float | None:
    """Return the seconds after which a request that came too fast may be made again; None where that is not soon."""
    wait = max(retry_after or 0.0, BURST_SECONDS)
    return wait * random.uniform(1.0, 1.5) if wait <= MAX_BURST_SECONDS else None  # noqa: S311 — jitter


def read_limits(known: Limits, headers: Mapping[str, str], now: float) -> Limits:
    """Return ``known`` updated by a response's ``headers``; the same object where they say nothing."""
    limit = _QUANTITY.match(headers.get("ratelimit-limit", ""))
    remaining = _QUANTITY.match(headers.get("ratelimit-remaining", ""))
    source = headers.get("docker-ratelimit-source")
    if not limit and not remaining:
        return known
    return replace(
        known,
        limit=int(limit[1]) if limit else known.limit,
        window=int(limit[2]) if limit and limit[2] else known.window,
        remaining=int(remaining[1]) if remaining else known.remaining,
        source=source[:100] if source and source.isprintable() else known.source,
        seen_at=now,
    )


def refused(known: Limits, *, counted: bool, retry_after: float | None, now: float) -> Limits:
    """Return ``known`` after a 429 to a request that was ``counted`` or not."""
    until = now + (DEFAULT_WAIT_SECONDS if retry_after is None else retry_after)
    known = replace(known, seen_at=now, refused_at=now)
    if counted:
        return replace(known, counted_until=until, remaining=0 if known.remaining is not None else None)
    return replace(known, all_until=until)


def answered(known: Limits, headers: Mapping[str, str], *, counted: bool, now: float) -> Limits:
    """Return ``known`` after an answer with ``headers`` that is no 429, without limits that it shows to be lifted."""
    told = _QUANTITY.match(headers.get("ratelimit-remaining", ""))
    # An upstream that never tells numbers is asked for a pull a minute.
    is_due = known.remaining is None and not 0 <= now - known.refused_at < LOOK_SECONDS
    is_lifted = int(told[1]) > 0 if told else is_due
    return replace(known, all_until=0.0, counted_until=0.0 if counted or is_lifted else known.counted_until)


def lifted(known: Limits) -> Limits:
    """Return ``known`` without what is refused."""
    return replace(known, all_until=0.0, counted_until=0.0)
