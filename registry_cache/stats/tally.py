"""What one process has counted and nobody has folded into the days' files yet: by day, and how it is written.

<root>/statistics/incoming/<YYYY-MM-DD>.<letters>.json      one process's counts of one day, since it wrote its last

The file's first line is JSON; the journal's lines follow it as they are to be.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from registry_cache.runtime.event_queue import Amount, Answer, Change, Event
from registry_cache.stats.calendar import bucket_of, day_of
from registry_cache.stats.day import TopKind
from registry_cache.stats.journal import journal_line
from registry_cache.stats.sums import NO_OUTCOME, SAVING

# Names of one list, clients with repositories of one span, and changes, that a process remembers until it writes. What
# is beyond counts in the sums alone.
MOST_NAMES = 20_000

# The errors that are worth a look, by class.
_CHANGES = {"Denied": "refused", "UpstreamCorrupt": "corrupt"}

# When its five minutes began, client, kind, upstream, repository, whether by tag, outcome, whether it was no error.
_Like = tuple[int, str, str, str, str, bool, str, bool]

# A LogPosition and when it was written, in nanoseconds since the epoch: later than any before it, whatever clocks say.
LogMark = tuple[int, str, int, int]


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
    journal: bytes = b""
    log_position: LogMark | None = None
    """How far nginx' log was read for this, where it was."""

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
        document |= {"log": self.log_position}
        return json.dumps(document, separators=(",", ":")).encode() + b"\n" + self.journal

    def forget_clients(self) -> None:
        """Forget who it was, and keep what happened."""
        self.clients.clear()
        self.tops.pop("clients", None)
        self.journal = b""
        for bucket in self.buckets.values():
            bucket.clients.clear()
            for pairs in (bucket.asked, bucket.tagged):
                images = {f" {pair.partition(' ')[2]}" for pair in pairs}
                pairs.clear()
                pairs.update(images)

    @classmethod
    def decode(cls, data: bytes) -> DayTally:
        """Return what a file holds. Raises ValueError."""
        try:
            head, _, lines = data.partition(b"\n")
            return cls._of(json.loads(head), lines)
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a tally: {error}") from error

    @classmethod
    def _of(cls, document: Any, journal_lines: bytes) -> DayTally:
        buckets = {
            int(start): OpenBucket(
                {(each[0], each[1]): int(each[2]) for each in bucket["amounts"]},
                *(set(bucket[name]) for name in ("clients", "asked", "tagged")),
            )
            for start, bucket in document["buckets"].items()
        }
        changes = {tuple(key): float(at) for at, *key in document["changes"]}
        log = tuple(document["log"]) if document["log"] else None
        return cls(buckets, document["tops"], changes, document["clients"], journal_lines, log)


class Tally:
    """What a process has counted since ``take``.

    ``journal``: whether requests for manifests are remembered one by one; ``clients``: whether anything is of clients.
    For one thread.
    """

    def __init__(self, *, journal: bool, clients: bool) -> None:
        self._has_journal = journal and clients
        self._knows_clients = clients
        # Like answers together, how many there were, their bytes and when the last one was: most are like another, and
        # what they mean for sums and lists is worked out when they are written.
        self._answers: dict[_Like, list[float]] = {}
        self._lines: dict[int, list[str]] = defaultdict(list)
        self._days: dict[int, DayTally] = defaultdict(DayTally)
        self.entry_count = 0
        """How many requests are remembered one by one."""

    def add(self, event: Event) -> None:
        """Count one event."""
        if isinstance(event, Answer):
            self._add_answer(event)
        elif isinstance(event, Amount):
            bucket = self._days[day_of(event.at)].buckets[bucket_of(event.at)]
            bucket.amounts[event.field, event.name] += event.amount
        else:
            _note_change(self._days[day_of(event.at)], event)

    def add_alike(self, answer: Answer, at: float, count: int) -> None:
        """Count ``count`` answers like ``answer``, the last one ``at`` then; none of them is in the journal."""
        _, client, _, _, kind, upstream, repository, reference, _, outcome, status, size, failure = answer
        if not self._knows_clients:
            client = ""
        like = (bucket_of(at), client, kind, upstream, repository, ":" not in reference, outcome, status < 400)
        found = self._answers.get(like)
        if found is None:
            if len(self._answers) >= MOST_NAMES:
                self._spread()
            self._answers[like] = [count, size * count, at]
        else:
            found[0] += count
            found[1] += size * count
            found[2] = at
        if outcome == "stale" or failure in _CHANGES:
            change = _CHANGES.get(failure, "stale")
            _note_change(self._days[day_of(at)], Change(at, change, upstream, repository, reference))

    def take(self) -> Iterator[tuple[int, DayTally]]:
        """Yield each day and what was counted for it, and start again."""
        self._spread()
        days, self._days = self._days, defaultdict(DayTally)
        lines, self._lines, self.entry_count = self._lines, defaultdict(list), 0
        for day, found in days.items():
            found.journal += "".join(lines[day]).encode()
            yield day, found

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

    def forget_entries(self) -> None:
        """Forget the requests one by one; they stay in the sums."""
        self._lines, self.entry_count = defaultdict(list), 0

    def _add_answer(self, answer: Answer) -> None:
        self.add_alike(answer, answer.at, 1)
        if answer.kind == "manifest" and answer.status < 400 and self._has_journal:
            at, client, user, method, _, upstream, repository, reference, digest, outcome, status, size, _ = answer
            what = (upstream, repository, reference, str(digest))
            self._lines[day_of(at)].append(journal_line(at, client, user, method, *what, str(outcome), status, size))
            self.entry_count += 1

    def _spread(self) -> None:
        """Work out what the answers mean for sums and lists."""
        answers, self._answers = self._answers, {}
        for like, (count, size, at) in answers.items():
            _spread(like, int(count), int(size), at, self._days[day_of(at)])


def _spread(like: _Like, count: int, size: int, at: float, day: DayTally) -> None:
    """Count ``count`` answers that are alike, of ``size`` bytes together, the last one ``at`` then."""
    start, client, kind, upstream, repository, by_tag, outcome, is_good = like
    bucket, word = day.buckets[start], str(outcome or NO_OUTCOME)
    bucket.amounts["requests", word] += count
    if size:
        bucket.amounts["served", word] += size
    if client:
        _add_some(bucket.clients, (client,))
        if len(day.clients) < MOST_NAMES or client in day.clients:
            day.clients[client] = at
    if not upstream or kind not in ("manifest", "blob"):
        return
    image = f"{upstream}/{repository}"
    if outcome in SAVING and size:
        _add_name(day.tops["saved"], image, size)
    elif outcome == "miss":
        _add_name(day.tops["missed"], image, count)
    if kind == "manifest" and is_good:
        _add_name(day.tops["pulled"], image, count)
        if client:
            _add_name(day.tops["clients"], client, count)
        bucket.amounts["pulls", ""] += count if by_tag else 0
        _add_some(bucket.tagged if by_tag else bucket.asked, (f"{client} {image}",))


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
