"""What changed and needs a look: each with the command that looks, or helps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from registry_cache.runtime.event_queue import Change
from registry_cache.ui.sentence import Tone
from registry_cache.ui.words import cut, quoted, short

# Rows of a page: more would not be read, and an outage makes thousands.
MOST_CHANGES = 12

# A ``stats.day.ChangeKind`` in words, and what to type: the image's name follows. The worst comes first.
_KINDS: Mapping[str, tuple[str, Tone, str]] = {
    "corrupt": ("wrong bytes from upstream", "bad", "registry-cache check"),
    "quarantined": ("was damaged here, and is in quarantine", "bad", "registry-cache pulls"),
    "refused": ("refused by upstream", "warn", "registry-cache check"),
    "gone": ("gone upstream, and still here", "warn", "registry-cache pin"),
    "stale": ("served stale: upstream did not confirm it", "warn", "registry-cache check"),
    "moved": ("moved", "good", "registry-cache pulls"),
}
_ORDER = list(_KINDS)


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """``what`` happened to ``image``, ``times`` times and last ``at``, in seconds since the epoch."""

    what: str
    tone: Tone
    image: str
    page: str
    at: float
    times: int
    command: str
    old: str = ""
    new: str = ""


def change_rows(changes: Iterable[Change]) -> list[ChangeRow]:
    """Return a row for each image and kind of change; ``changes``: newest first. What is worst comes first."""
    found: dict[tuple[str, str, str, str], list[Change]] = {}
    for each in changes:
        found.setdefault((each.kind, each.upstream, each.repository, each.reference), []).append(each)
    known = [each for each in found.values() if each[0].kind in _KINDS]
    worst_first = sorted(known, key=lambda each: _ORDER.index(each[0].kind))
    return [_row(each[0], len(each)) for each in worst_first]


def _row(change: Change, times: int) -> ChangeRow:
    what, tone, command = _KINDS[change.kind]
    page = f"{change.upstream}/{change.repository}"
    colon = "@" if ":" in change.reference else ":"
    image = f"{page}{colon}{change.reference}"
    old, new = (short(each) if each else "" for each in (change.old, change.new))
    # Who pulled an image is known by its name and its tags, and not by its layers.
    asked = page if change.kind == "quarantined" else image
    return ChangeRow(what, tone, cut(image), page, change.at, times, f"{command} {quoted(asked)}", old, new)
