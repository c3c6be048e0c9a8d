"""The four large numbers, each a link to what is behind it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from registry_cache.ui.facts import SizeLimits
from registry_cache.ui.numbers import HOUR_SECONDS, Numbers
from registry_cache.ui.words import clock, count, plural, share, size
from registry_cache.upkeep.live_status import Glance
from registry_cache.upkeep.status import PullCount

# In the place of a number that nobody knows.
NOTHING = "?"


@dataclass(frozen=True, slots=True)
class Box:
    """A ``number`` with its ``unit``, ``lines`` below it, and where it says who.

    ``percent`` is how full its bar is; None: it has none.
    """

    title: str
    number: str
    unit: str
    lines: Sequence[str]
    href: str
    percent: int | None = None


def boxes(numbers: Numbers, glance: Glance, limits: SizeLimits, next_out: str) -> list[Box]:
    """Return all four; ``next_out`` says of what age is what would be evicted next, "" where that is not known."""
    return [_saved(numbers), _pulls(numbers), _left(numbers, glance), _disk(glance, limits, next_out)]


def _saved(numbers: Numbers) -> Box:
    number, _, unit = size(numbers.day.saved_bytes).partition(" ")
    parts = round(100 * (numbers.day.saved_share or 0))
    lines = [f"{share(numbers.day.saved_bytes, numbers.day.served_bytes)} came from the cache"]
    lines.append(f"{size(numbers.month.saved_bytes)} in 30 days")
    return Box("Saved in 24 hours", number, unit, lines, "#images", parts)


def _pulls(numbers: Numbers) -> Box:
    lines = [f"by {_clients(numbers.day.clients)}"]
    lines.append(f"{count(numbers.month.pulls)} by {_clients(numbers.month_clients)} in 30 days")
    return Box("Pulls in 24 hours", count(numbers.day.pulls), "", lines, "#clients")


def _clients(number: int) -> str:
    return plural(number, "client")


def _left(numbers: Numbers, glance: Glance) -> Box:
    known = [(each.name, each.pulls) for each in glance.upstreams if each.pulls and each.pulls.current]
    title = "Counted pulls left"
    if not known:
        return Box(title, NOTHING, "", ["no upstream has told of a limit"], "#upstreams")
    name, pulls = min(known, key=lambda each: each[1].left / max(1, each[1].limit))
    percent = min(100, pulls.left * 100 // max(1, pulls.limit))
    lines = [f"at {name}", _pace(pulls, numbers.hour.get(name, 0), glance)]
    return Box(title, count(pulls.left), f"of {count(pulls.limit)}", lines, "#upstreams", percent)


def _pace(pulls: PullCount, taken: int, glance: Glance) -> str:
    """Say when none are left if each hour takes as many as the last, unless the count starts again before that."""
    if not taken:
        return "none were taken in the last hour"
    ends = glance.now + pulls.left / taken * HOUR_SECONDS
    if pulls.window and ends > pulls.seen_at + pulls.window:
        return f"{count(taken)} in the last hour: enough until the count begins anew"
    return f"{count(taken)} in the last hour: they end at {clock(ends, glance.now, glance.zone)}"


def _disk(glance: Glance, limits: SizeLimits, next_out: str) -> Box:
    title, href = "Disk used", "/ui/images"
    if glance.space is None:
        return Box(title, NOTHING, "", ["its disk does not tell"], href)
    if glance.stored is None:
        # Whoever looks here has asked for a survey, which a full or failing disk does not keep.
        told = "being counted" if glance.store == "ok" else "not counted yet"
        return Box(title, NOTHING, "", [told, f"{size(glance.space.free)} are free on its disk"], href)
    number, _, unit = size(glance.stored).partition(" ")
    room = limits.max_size or glance.stored + max(0, glance.space.free - (limits.min_free or 0))
    bound = f"of {size(limits.max_size)}" if limits.max_size else f"{size(glance.space.free)} are free on its disk"
    percent = min(100, glance.stored * 100 // room) if room else 100
    return Box(title, number, unit, [bound, *([next_out] if next_out else [])], href, percent)
