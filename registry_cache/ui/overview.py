"""What the first page shows, from a glance at the store and the numbers that last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from registry_cache.ui.facts import Facts, SizeLimits
from registry_cache.ui.rows import Speeds, TransferRow, UpstreamRow, transfer_row, upstream_row
from registry_cache.ui.sentence import Sentence, sentences
from registry_cache.ui.words import count, share, size
from registry_cache.upkeep.glance import Glance

# In the place of a number that nobody knows.
NOTHING = "?"
# Rows of transfers; a page of more would not be read, and the interrupted ones may be thousands.
MOST_TRANSFERS = 12


@dataclass(frozen=True, slots=True)
class Box:
    """One of the large numbers: ``number`` with its ``unit``, two ``lines`` below, and where it is answered by whom.

    ``percent`` is how full its bar is; None: it has none.
    """

    title: str
    number: str
    unit: str
    lines: Sequence[str]
    href: str
    percent: int | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    sentences: Sequence[Sentence]
    boxes: Sequence[Box]
    upstreams: Sequence[UpstreamRow]
    transfers: Sequence[TransferRow]
    more_transfers: int


class Overviews:
    """Makes overviews, and knows the last one: how fast a transfer comes shows between two."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._speeds = Speeds()

    def make(self) -> Overview:
        """Return the overview of this moment."""
        glance = self._facts.glance()
        speeds = self._speeds.between(glance)
        shown = glance.transfers[:MOST_TRANSFERS]
        return Overview(
            sentences(glance),
            [_limit_box(glance), _disk_box(glance, self._facts.limits)],
            [upstream_row(each, glance) for each in glance.upstreams],
            [transfer_row(each, speeds, glance) for each in shown],
            len(glance.transfers) - len(shown),
        )


def _limit_box(glance: Glance) -> Box:
    known = [(each.name, each.pulls) for each in glance.upstreams if each.pulls and each.pulls.current]
    if not known:
        return Box("Pulls left", NOTHING, "", ["no upstream has told of a limit"], "#upstreams")
    name, pulls = min(known, key=lambda each: each[1].left / max(1, each[1].limit))
    percent = min(100, pulls.left * 100 // max(1, pulls.limit))
    return Box("Pulls left", count(pulls.left), f"of {count(pulls.limit)}", [f"at {name}"], "#upstreams", percent)


def _disk_box(glance: Glance, limits: SizeLimits) -> Box:
    if glance.stored is None or glance.space is None:
        return Box("Disk used", NOTHING, "", ["nobody has counted yet: the next cleanup does"], "#upstreams")
    number, _, unit = size(glance.stored).partition(" ")
    free = f"{size(glance.space.free)} free on its disk"
    if limits.max_size:
        line = f"{share(glance.stored, limits.max_size)} of {size(limits.max_size)}"
        percent = min(100, glance.stored * 100 // limits.max_size)
        return Box("Disk used", number, unit, [line, free], "#disk", percent)
    room = glance.stored + max(0, glance.space.free - (limits.min_free or 0))
    percent = min(100, glance.stored * 100 // room) if room else 100
    return Box("Disk used", number, unit, [free, f"{size(limits.min_free or 0)} of it stay free"], "#disk", percent)
