"""Decide whether a tag's record may be served without asking upstream."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum


class Freshness(Enum):
    """What to do about a tag."""

    FRESH = "fresh"
    STALE = "stale"


def decide(checked_at: datetime, now: datetime, max_age: timedelta) -> Freshness:
    """Return whether a tag last checked at ``checked_at`` is fresh at ``now``.

    A record from the future (the clock went back) is stale: trusting it could serve an old tag for as long as the
    clock was wrong.
    """
    age = now - checked_at
    return Freshness.FRESH if timedelta(0) <= age < max_age else Freshness.STALE
