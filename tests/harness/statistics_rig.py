"""A store whose clock the test sets, with processes that count for it and one that folds what they counted."""

from __future__ import annotations

from collections.abc import Callable

from registry_cache.runtime.event_queue import Amount, Answer, Change
from registry_cache.stats.calendar import DAY_SECONDS
from registry_cache.stats.files import StatisticsFiles
from registry_cache.stats.journal_file import JournalBounds
from registry_cache.stats.keeper import Keeper
from registry_cache.stats.statistics import Statistics
from registry_cache.stats.sums import DiskUse
from registry_cache.stats.tally import Tally
from registry_cache.store.atomic_write import write_whole
from registry_cache.store.layout import Layout

NOON = 20_000 * DAY_SECONDS + 43_200.0
BOUNDS = JournalBounds(days=7, size=1 << 20)
DIGEST = "sha256:" + "a" * 64


def answer(at: float = NOON, **other: object) -> Answer:
    values: dict[str, object] = {
        **{"client": "10.0.0.7", "user": "", "method": "GET", "kind": "manifest", "upstream": "docker.io"},
        **{"repository": "library/nginx", "reference": "1.27", "digest": DIGEST, "outcome": "hit"},
        **{"status": 200, "size": 10, "failure": ""},
    }
    return Answer(at, **{**values, **other})  # type: ignore[arg-type]


class StatisticsRig:
    """A store whose clock the test sets, and processes that count for it."""

    def __init__(self, layout: Layout) -> None:
        self.now = NOON
        self.files = StatisticsFiles(layout)
        self.statistics = Statistics(layout, lambda: self.now)
        self.keeper = self.new_keeper()

    def new_keeper(
        self,
        bounds: JournalBounds = BOUNDS,
        disk: Callable[[], DiskUse | None] = lambda: None,
        *,
        clients: bool = True,
    ) -> Keeper:
        self.keeper = Keeper(self.files, bounds, disk, lambda: self.now, clients=clients)
        return self.keeper

    def count(self, *events: Answer | Amount | Change, clients: bool = True) -> None:
        """A process has counted these, and has written them."""
        tally = Tally(journal=True, clients=clients)
        for event in events:
            tally.add(event)
        for day, counted in tally.take():
            write_whole(self.files.new_incoming(day), counted.encode())

    def fold(self) -> None:
        assert self.keeper.hold()
        self.keeper.fold()

    def fold_as_another(self) -> None:
        """The process that folded has ended."""
        self.keeper.release()
        self.new_keeper()
        self.fold()
