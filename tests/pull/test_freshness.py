"""When a tag may be served without asking upstream."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from registry_cache.pull.manifest import is_fresh

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)
NEVER = timedelta(0)
FRESH, STALE = True, False


@pytest.mark.parametrize(
    ("checked_at", "max_age", "expected"),
    [
        (NOW, MINUTE, FRESH),
        (NOW - MINUTE + MICROSECOND, MINUTE, FRESH),
        (NOW - MINUTE, MINUTE, STALE),
        (NOW - MINUTE - MICROSECOND, MINUTE, STALE),
        (NOW - timedelta(days=9000), MINUTE, STALE),
        (NOW - timedelta(days=9000), timedelta.max, FRESH),
        # The default max_age of 0: always ask, even about what was checked this very moment.
        (NOW, NEVER, STALE),
        (NOW - MICROSECOND, NEVER, STALE),
        # The clock went back.
        (NOW + MICROSECOND, MINUTE, STALE),
        (NOW + timedelta(days=9000), timedelta.max, STALE),
        # The same moment, written in another zone.
        (NOW.astimezone(timezone(timedelta(hours=5, minutes=30))), MINUTE, FRESH),
    ],
)
def test_freshness(checked_at: datetime, max_age: timedelta, expected: bool) -> None:
    assert is_fresh(checked_at, NOW, max_age) is expected
