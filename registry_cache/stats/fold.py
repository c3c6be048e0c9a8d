"""Fold what processes have counted into a day.

A file of counts is folded exactly once: the day's file, which is replaced in one step, names those that are in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from registry_cache.runtime.event_queue import Change
from registry_cache.stats.calendar import BUCKET_SECONDS
from registry_cache.stats.day import Day, TopKind, TopList
from registry_cache.stats.space_saving import SpaceSaving
from registry_cache.stats.sums import MAPS, NUMBERS, Sums, total
from registry_cache.stats.tally import DayTally, LogMark, OpenBucket

# A list's counters while its day lasts, and the names that stay.
COUNTERS, NAMES = 500, 100
# Changes of one kind that a day remembers.
MOST_CHANGES = 500
# For so long after its end who was there in a span is known by name, and not only by number. A server that was killed
# may have left counts that are folded later: who came in those and before counts twice as a pull by digest.
_OPEN_SECONDS = 2 * BUCKET_SECONDS
# Clients and repositories of an open span whose names are known.
_MOST_PRESENT = 50_000


@dataclass(slots=True)
class _Presence:
    """Who was there in five minutes: hashes, as in OpenBucket."""

    clients: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    tagged: set[str] = field(default_factory=set)

    def document(self) -> list[list[str]]:
        return [sorted(self.clients), sorted(self.asked), sorted(self.tagged)]


class DayFold:
    """One day that is being written; ``end`` is where the journal's last piece ends, and its number."""

    def __init__(self, day: Day) -> None:
        self._buckets = dict(day.buckets)
        self._lists = {kind: SpaceSaving.of(COUNTERS, each.entries, each.floor) for kind, each in day.tops.items()}
        self._changes: dict[tuple[str, ...], float] = {change[1:]: change.at for change in day.changes}
        self._present = {int(start): _Presence(*map(set, each)) for start, each in day.open.get("present", {}).items()}
        self._clients = day.sums.clients
        self.folded = set(day.folded)
        self._log: LogMark | None = day.open.get("log")
        piece, offset = day.open.get("journal", (0, 0))
        self.journal: tuple[int, int] = (piece, offset)

    def add(self, name: str, tally: DayTally) -> None:
        """Fold the counts of the file ``name``."""
        self.folded.add(name)
        self._log = tally.log_position or self._log
        for start, bucket in sorted(tally.buckets.items()):
            self._add_bucket(start, bucket)
        for kind, names in tally.tops.items():
            counters = self._lists.setdefault(kind, SpaceSaving(COUNTERS))
            for each, amount in names.items():
                counters.add(each, amount)
        for key, at in tally.changes.items():
            self._changes[key] = max(at, self._changes.get(key, at))

    def note_day(self, clients: int) -> None:
        """So many different clients came on this day."""
        self._clients = max(self._clients, clients)

    def note(self, moment: int, sums: Sums) -> None:
        """Note in the span that began at ``moment`` what is not a count, such as the disk's use."""
        self._buckets[moment] = self._buckets.get(moment, Sums()) + sums

    def day(self, now: float, *, finished: bool = False) -> Day:
        """Return the day to write; of one that is ``finished`` only what stays."""
        for start in [each for each in self._present if each + BUCKET_SECONDS + _OPEN_SECONDS < now]:
            del self._present[start]
        lists = {kind: _top_list(each, NAMES if finished else COUNTERS) for kind, each in self._lists.items()}
        present = {str(start): each.document() for start, each in self._present.items()}
        sums = replace(total(each for _, each in sorted(self._buckets.items())), clients=self._clients)
        # Where the journal ends stays known: counts of this day may still come. And how far nginx' log was read.
        open_: dict[str, object] = {"journal": list(self.journal)} | ({} if finished else {"present": present})
        if self._log:
            open_["log"] = list(self._log)
        folded = () if finished else tuple(sorted(self.folded))
        return Day(self._buckets, sums, lists, tuple(self._newest_changes()), folded, open_)

    def _add_bucket(self, start: int, bucket: OpenBucket) -> None:
        present = self._present.setdefault(start, _Presence())
        before = len(present.asked - present.tagged)
        for name in ("clients", "asked", "tagged"):
            hashes = {hash_of(each) for each in getattr(bucket, name)}
            known: set[str] = getattr(present, name)
            if len(known) + len(hashes) < _MOST_PRESENT:
                known |= hashes
        sums = self._buckets.get(start, Sums())
        # Who asked by digest alone until now may have asked by tag as well meanwhile.
        more = _sums_of(bucket.amounts, len(present.asked - present.tagged) - before)
        self._buckets[start] = replace(sums + more, clients=max(sums.clients, len(present.clients)))

    def _newest_changes(self) -> list[Change]:
        kept: list[Change] = []
        counts: dict[str, int] = {}
        for key, at in sorted(self._changes.items(), key=lambda each: -each[1]):
            counts[key[0]] = counts.get(key[0], 0) + 1
            if counts[key[0]] <= MOST_CHANGES:
                kept.append(Change(at, *key))
        return kept


def without_clients(day: Day) -> Day:
    """Return what is known of a day beside who came."""
    tops: dict[TopKind, TopList] = {kind: each for kind, each in day.tops.items() if kind != "clients"}
    return replace(day, tops=tops, open={name: each for name, each in day.open.items() if name != "present"})


def _sums_of(amounts: Mapping[tuple[str, str], int], digest_pulls: int) -> Sums:
    """Return the sums that a process's amounts are; an unknown field is a newer version's."""
    maps: dict[str, dict[str, int]] = {name: {} for name in MAPS}
    numbers = dict.fromkeys(NUMBERS, 0) | {"pulls": digest_pulls}
    for (name, key), amount in amounts.items():
        if name in maps:
            maps[name][key] = amount
        elif name in numbers:
            numbers[name] += amount
    return Sums(**cast("Any", {**maps, **numbers}))


def _top_list(counters: SpaceSaving, count: int) -> TopList:
    entries = counters.entries()
    dropped = [each.at_most for each in entries[count:]]
    return TopList(tuple(entries[:count]), max([counters.floor, *dropped]))


def hash_of(text: str) -> str:
    """Return what stands for a client, or for a client and an image, in a day that is not over."""
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=8).hexdigest()
