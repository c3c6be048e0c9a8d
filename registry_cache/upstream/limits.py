"""The rate limit that an upstream tells us of, and which requests it therefore stops (P24, P25).

Docker Hub counts manifest GETs (``ratelimit-limit: 100;w=21600``, ``ratelimit-remaining: 7;w=21600``). HEADs and blobs
are free, so a limit on GETs leaves those alone; a 429 to anything else stops everything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

# How long a 429 without Retry-After stops requests; then one request finds out.
DEFAULT_WAIT_SECONDS = 10.0

_QUANTITY = re.compile(r"\s*([0-9]{1,12})(?:\s*;\s*w=([0-9]{1,9}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limits:
    """What is known of an upstream's limit. Times are seconds since the epoch; None where upstream never said.

    ``limit`` pulls in ``window`` seconds, ``remaining`` of them left at ``seen_at``, counted for ``source`` (an address
    or an account). Until ``counted_until`` counted pulls are refused, until ``all_until`` everything is.
    """

    limit: int | None = None
    window: int | None = None
    remaining: int | None = None
    source: str | None = None
    seen_at: float = 0.0
    counted_until: float = 0.0
    all_until: float = 0.0

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
    if counted:
        return replace(known, counted_until=until, remaining=0 if known.remaining is not None else None, seen_at=now)
    return replace(known, all_until=until, seen_at=now)
