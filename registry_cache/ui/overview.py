"""What the first page shows: the state of the store and of upstreams, and the statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from registry_cache.stats.calendar import DAY_SECONDS
from registry_cache.ui.boxes import Box, boxes
from registry_cache.ui.changes import MOST_CHANGES, ChangeRow, change_rows
from registry_cache.ui.facts import Facts
from registry_cache.ui.lists import next_out
from registry_cache.ui.nodes import NodeTable, node_table
from registry_cache.ui.numbers import History, NumberReader
from registry_cache.ui.rows import Speeds, TransferRow, UpstreamRow, transfer_row, upstream_row
from registry_cache.ui.sentence import Sentence, sentences
from registry_cache.ui.tops import FEW, ON_FIRST_PAGE, GoneRow, TopTable, gone_rows, top_table

# Rows of transfers: the interrupted ones may be thousands.
MOST_TRANSFERS = 12


@dataclass(frozen=True, slots=True)
class Overview:
    """The sections of the page, in their order; ``more_…``: how many rows of a section are not shown.

    ``quarantined``: damaged files that wait for a person. ``nodes``: None where this cache is in no cluster.
    """

    sentences: Sequence[Sentence]
    boxes: Sequence[Box]
    history: History
    nodes: NodeTable | None
    upstreams: Sequence[UpstreamRow]
    transfers: Sequence[TransferRow]
    more_transfers: int
    changes: Sequence[ChangeRow]
    more_changes: int
    quarantined: int
    tops: Sequence[TopTable]
    gone: Sequence[GoneRow]
    more_gone: int


class Overviews:
    """Makes overviews, and knows the last one: how fast a transfer comes shows between two."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._numbers = NumberReader(facts.statistics)
        self._speeds = Speeds()

    def make(self, days: int) -> Overview:
        """Return the overview of this moment, with a chart of so many ``days``. Raises StoreError."""
        glance, statistics, store = self._facts.glance(), self._facts.statistics, self._facts.surveyor.look()
        if glance.stored is None and store is not None:
            glance = replace(glance, stored=store.survey.bytes)
        speeds = self._speeds.between(glance)
        since, numbers = glance.now - DAY_SECONDS, self._numbers.numbers()
        changes = change_rows(statistics.changes(since))
        gone = gone_rows(statistics, glance.now)
        return Overview(
            sentences(glance),
            boxes(numbers, glance, self._facts.limits, next_out(store, glance.now)),
            self._numbers.history(days),
            node_table(self._facts.cluster, glance.now),
            [upstream_row(each, glance, numbers.answers.get(each.name)) for each in glance.upstreams],
            [transfer_row(each, speeds, glance) for each in glance.transfers[:MOST_TRANSFERS]],
            max(0, len(glance.transfers) - MOST_TRANSFERS),
            changes[:MOST_CHANGES],
            max(0, len(changes) - MOST_CHANGES),
            store.survey.quarantined if store else 0,
            [top_table(statistics, kind, since) for kind in ON_FIRST_PAGE],
            gone[:FEW],
            max(0, len(gone) - FEW),
        )
