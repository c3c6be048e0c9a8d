"""What one process has counted and nobody has folded into the days' files yet; by day, and how that is written.

<root>/statistics/incoming/<YYYY-MM-DD>.<letters>.json      one process's counts of one day, since it wrote its last
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from registry_cache.runtime.tally import Amount, Answer, Change, Event
from registry_cache.stats.day import TopKind
from registry_cache.stats.days import bucket_of, day_of
from registry_cache.stats.journal import Entry
from registry_cache.stats.sums import NO_OUTCOME, SAVING

# Names of one list, clients with repositories of one span, and changes, that a process remembers until it writes. What
# is beyond counts in the sums alone.
MOST_NAMES = 20_000

# The errors that are worth a look, by class.
_CHANGES = {"Denied": "refused", "UpstreamCorrupt": "corrupt"}


@dataclass(slots=True)
class OpenBucket:
    """Five minutes of one process: amounts by (field, name), and who was there.

    ``asked`` and ``tagged``: clients with repositories, of which they asked for a manifest by digest and by tag.
    """

    amounts: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    clients: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    tagged: set[str] = field(default_factory=set)


@dataclass(slots=True)
class DayTally:
    """One day of one process."""

    buckets: dict[int, OpenBucket] = field(default_factory=lambda: defaultdict(OpenBucket))
    tops: dict[TopKind, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    changes: dict[tuple[str, ...], float] = field(default_factory=dict)
    clients: dict[str, float] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)

    def encode(self) -> bytes:
        """Return the file's bytes."""
        buckets = {
            str(start): {
                "amounts": [[*key, amount] for key, amount in bucket.amounts.items()],
                "clients": sorted(bucket.clients),
                "asked": sorted(bucket.asked),
                "tagged": sorted(bucket.tagged),
            }
            for start, bucket in self.buckets.items()
        }
        changes = [[at, *key] for key, at in self.changes.items()]
        document = {"buckets": buckets, "tops": self.tops, "changes": changes, "clients": self.clients}
        return json.dumps({**document, "entries": self.entries}, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> DayTally:
        """Return what a file holds. Raises ValueError."""
        try:
            return cls._of(json.loads(data))
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"no tally: {error}") from error

    @classmethod
    def _of(cls, document: Any) -> DayTally:
        buckets = {
            int(start): OpenBucket(
                {(each[0], each[1]): int(each[2]) for each in bucket["amounts"]},
                *(set(bucket[name]) for name in ("clients", "asked", "tagged")),
            )
            for start, bucket in document["buckets"].items()
        }
        changes = {tuple(key): float(at) for at, *key in document["changes"]}
        entries = [Entry(*each) for each in document["entries"]]
        return cls(buckets, document["tops"], changes, document["clients"], entries)


class Tally:
    """What a process has counted since ``take``.

    ``journal``: whether requests for manifests are remembered one by one; ``clients``: whether anything is of clients.
    For one thread.
    """

    def __init__(self, *, journal: bool, clients: bool = True) -> None:
        self._journal = journal and clients
        self._knows_clients = clients
        self._days: dict[int, DayTally] = defaultdict(DayTally)

    def add(self, event: Event) -> None:
        """Count one event."""
        day = self._days[day_of(event.at)]
        if isinstance(event, Answer):
            self._add_answer(event if self._knows_clients else event._replace(client="", user=""), day)
        elif isinstance(event, Amount):
            day.buckets[bucket_of(event.at)].amounts[event.field, event.name] += event.amount
        else:
            _note_change(day, event)

    def take(self) -> Iterator[tuple[int, DayTally]]:
        """Yield each day and what was counted for it, and begin anew."""
        days, self._days = self._days, defaultdict(DayTally)
        yield from days.items()

    def put_back(self, day: int, tally: DayTally) -> None:
        """Count what could not be written once more; requests one by one are lost."""
        mine = self._days[day]
        for start, bucket in tally.buckets.items():
            for key, amount in bucket.amounts.items():
                mine.buckets[start].amounts[key] += amount
            for name in ("clients", "asked", "tagged"):
                _add_some(getattr(mine.buckets[start], name), getattr(bucket, name))
        for kind, names in tally.tops.items():
            for name, amount in names.items():
                _add_name(mine.tops[kind], name, amount)
        mine.clients.update(tally.clients)
        mine.changes.update(tally.changes)

    @property
    def entry_count(self) -> int:
        """How many requests are remembered one by one."""
        return sum(len(day.entries) for day in self._days.values())

    def _add_answer(self, answer: Answer, day: DayTally) -> None:
        bucket = day.buckets[bucket_of(answer.at)]
        outcome = answer.outcome or NO_OUTCOME
        bucket.amounts["requests", outcome] += 1
        if answer.size:
            bucket.amounts["served", outcome] += answer.size
        if answer.client:
            _add_some(bucket.clients, (answer.client,))
            if len(day.clients) < MOST_NAMES or answer.client in day.clients:
                day.clients[answer.client] = answer.at
        if answer.upstream and answer.kind in ("manifest", "blob"):
            self._add_pull(answer, day, bucket)

    def _add_pull(self, answer: Answer, day: DayTally, bucket: OpenBucket) -> None:
        image = f"{answer.upstream}/{answer.repository}"
        if answer.outcome in SAVING and answer.size:
            _add_name(day.tops["saved"], image, answer.size)
        elif answer.outcome == "miss":
            _add_name(day.tops["missed"], image, 1)
        if answer.kind == "manifest" and answer.status < 400:
            self._add_manifest(answer, day, bucket, image)
        kind = "stale" if answer.outcome == "stale" else _CHANGES.get(answer.failure)
        if kind:
            _note_change(day, Change(answer.at, kind, answer.upstream, answer.repository, answer.reference))

    def _add_manifest(self, answer: Answer, day: DayTally, bucket: OpenBucket, image: str) -> None:
        _add_name(day.tops["pulled"], image, 1)
        if answer.client:
            _add_name(day.tops["clients"], answer.client, 1)
        by_tag = ":" not in answer.reference
        bucket.amounts["pulls", ""] += by_tag
        _add_some(bucket.tagged if by_tag else bucket.asked, (f"{answer.client} {image}",))
        if self._journal:
            who = (answer.at, answer.client, answer.user, answer.method)
            what = (answer.upstream, answer.repository, answer.reference, str(answer.digest))
            day.entries.append(Entry(*who, *what, str(answer.outcome), answer.status, answer.size))


def _note_change(day: DayTally, change: Change) -> None:
    if len(day.changes) < MOST_NAMES:
        day.changes[change[1:]] = change.at
    if change.kind == "moved":
        _add_name(day.tops["moved"], f"{change.upstream}/{change.repository}:{change.reference}", 1)


def _add_name(names: dict[str, int], name: str, amount: int) -> None:
    if name in names or len(names) < MOST_NAMES:
        names[name] = names.get(name, 0) + amount


def _add_some(names: set[str], more: Iterable[str]) -> None:
    if len(names) < MOST_NAMES:
        names.update(more)
