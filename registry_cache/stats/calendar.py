"""Days (in UTC) as numbers since the epoch and as file names; and spans of five minutes."""

from __future__ import annotations

from datetime import UTC, date, datetime

DAY_SECONDS = 86_400
# What is called a month: so many days, of which today is the last.
MONTH_DAYS = 30
BUCKET_SECONDS = 300

_EPOCH = date(1970, 1, 1).toordinal()


def day_of(moment: float) -> int:
    """Return the day of a moment, in seconds since the epoch."""
    return int(moment // DAY_SECONDS)


def bucket_of(moment: float) -> int:
    """Return when the five minutes of a moment began."""
    return int(moment // BUCKET_SECONDS) * BUCKET_SECONDS


def day_name(day: int) -> str:
    """Return a day as YYYY-MM-DD."""
    return datetime.fromtimestamp(day * DAY_SECONDS, UTC).date().isoformat()


def day_named(name: str) -> int | None:
    """Return the day that a name begins with; None where it is not a day."""
    try:
        return date.fromisoformat(name[:10]).toordinal() - _EPOCH
    except ValueError:
        return None
