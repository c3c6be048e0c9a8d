"""How the page writes numbers, times and what strangers chose. Pure; registered with the templates as filters."""

from __future__ import annotations

import shlex
from datetime import datetime, tzinfo

from registry_cache.upkeep.report import ago, printable, short, size

# What the templates call.
__all__ = ["clock", "count", "cut", "plural", "quoted", "short", "size"]

# Of a text that a stranger wrote: a longer one would push everything else off a phone's screen.
LONGEST = 120


def cut(text: object, most: int = LONGEST) -> str:
    """Return ``text`` without what moves a reader's cursor, and not longer than ``most`` letters."""
    found = printable(str(text))
    return found if len(found) <= most else f"{found[: most - 1]}…"


def quoted(text: object) -> str:
    """Return ``text`` as one word of a shell's, for a command that somebody copies."""
    return shlex.quote(cut(text, 200))


def count(number: int) -> str:
    """Return a number as a person reads it at a glance: 4,711 and 1.2 million."""
    if number >= 1_000_000_000:
        return f"{number / 1_000_000_000:.1f} billion"
    return f"{number / 1_000_000:.1f} million" if number >= 1_000_000 else f"{number:,}"


def plural(number: int, one: str, many: str = "") -> str:
    """Return how many there are of something, called ``one``, and ``many`` or with an s where it is not one."""
    return f"{count(number)} {one if number == 1 else many or f'{one}s'}"


def share(part: float, whole: float) -> str:
    """Return ``part`` of ``whole`` in percent: 100 only for all of it, and 0 only for nothing."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 1:
        return "< 1 %"
    return "> 99 %" if 99 < percent < 100 else f"{percent:.0f} %"


def clock(moment: float, now: float, zone: tzinfo | None) -> str:
    """Return a time of today as HH:MM, and with its date where it is another day's."""
    then, today = datetime.fromtimestamp(moment, zone), datetime.fromtimestamp(now, zone).date()
    return then.strftime("%H:%M" if then.date() == today else "%Y-%m-%d %H:%M")


def span(seconds: float) -> str:
    """Return a span as one says it: 3 h, 2 d, a moment."""
    return ago(seconds) if seconds >= 1 else "a moment"
