"""What ``registry-cache stats`` reports: the numbers that last, as lines with bars and as a JSON document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from registry_cache.runtime.event_queue import Change
from registry_cache.stats.calendar import BUCKET_SECONDS, DAY_SECONDS
from registry_cache.stats.clients import GoneClient
from registry_cache.stats.day import TOP_KINDS, TopKind
from registry_cache.stats.space_saving import TopEntry
from registry_cache.stats.statistics import Bucket, Statistics
from registry_cache.stats.sums import Sums
from registry_cache.upkeep.report import Report, age, bar, clock, iso, short, size

# Letters of a sparkline, lowest first; the second for a terminal that has no others.
BLOCKS, PLAIN_BLOCKS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"
# A sparkline is at most so wide.
_WIDTH = 72
# Names that a person reads of a list, and a program.
_SHOWN, _LISTED = 5, 100
# Changes that a person reads: of an outage there are hundreds.
_SHOWN_CHANGES = 20

_TITLES: dict[TopKind, str] = {
    "saved": "images that saved most",
    "missed": "images that were fetched most often",
    "pulled": "images whose manifests were asked for most",
    "clients": "clients that asked for most manifests",
    "moved": "tags that moved",
}


@dataclass(frozen=True, slots=True)
class StatisticsReport(Report):
    """The numbers from ``since`` until ``now``, in the reader's time zone; ``blocks`` for its sparkline."""

    since: float
    now: datetime
    sums: Sums
    series: Sequence[Bucket]
    tops: Mapping[TopKind, Sequence[TopEntry]]
    changes: Sequence[Change]
    gone: Sequence[GoneClient]
    blocks: str = BLOCKS

    def lines(self) -> Iterator[str]:
        sums = self.sums
        yield f"the last {age(self.since, self.now)}, since {clock(self.since, self.now)}"
        if not sums.request_count:
            yield "  nothing was asked for"
            return
        yield f"  served   {size(sums.served_bytes)}, {_number(sums.request_count, 'answer')}"
        yield f"           {spark([each.sums.served_bytes for each in self.series], self.blocks)}"
        yield f"  saved    {size(sums.saved_bytes)}  {bar(int(100 * (sums.saved_share or 0)))}"
        yield f"  fetched  {size(sums.fetched_bytes)}{_after(_sizes(sums.fetched))}"
        yield f"  pulls    {sums.pulls:,} by {_number(sums.clients, 'client')}"
        yield f"  counted  {sum(sums.counted.values()):,}{_after(_counts(sums.counted))}"
        yield f"  answers  {_counts(sums.requests)}"
        yield f"  errors   {_counts(sums.errors) or 'none'}"
        if sums.evicted_blobs:
            yield f"  evicted  {_number(sums.evicted_blobs, 'blob')}, {size(sums.evicted_bytes)}"
        if sums.disk:
            limit = f" of {size(sums.disk.limit)}" if sums.disk.limit else ""
            # The first pass over the store counts it.
            used = f"{size(sums.disk.used)}{limit} used" if sums.disk.used else "not counted yet"
            yield f"  disk     {used}, {size(sums.disk.free)} free"
        yield from self._lists()

    def document(self) -> dict[str, object]:
        """docs/reference.md explains each value."""
        return {
            "since": iso(self.since),
            "until": iso(self.now.timestamp()),
            "sums": _sums_document(self.sums),
            "series": [
                {"at": iso(each.at), "seconds": each.seconds, **_sums_document(each.sums)} for each in self.series
            ],
            "top": {
                kind: [{"name": each.name, "at_least": each.at_least, "at_most": each.at_most} for each in entries]
                for kind, entries in self.tops.items()
            },
            "changes": [{**each._asdict(), "at": iso(each.at)} for each in self.changes],
            "clients_gone": [
                {"client": each.client, "days": each.days, "last_seen": iso(each.last_seen)} for each in self.gone
            ],
        }

    def _lists(self) -> Iterator[str]:
        for kind, entries in self.tops.items():
            if entries:
                yield _TITLES[kind]
                shown = [(_amount(each, kind), each.name) for each in entries[:_SHOWN]]
                width = max(len(amount) for amount, _ in shown)
                yield from (f"  {amount:>{width}}  {name}" for amount, name in shown)
        yield from self._changes()
        if self.gone:
            yield "clients that used to come and are gone"
            for each in self.gone[:_SHOWN]:
                yield f"  {each.client}  last seen {clock(each.last_seen, self.now)}"

    def _changes(self) -> Iterator[str]:
        if self.changes:
            yield "what changed and needs a look"
        for each in self.changes[:_SHOWN_CHANGES]:
            name = f"{each.upstream}/{each.repository}{'@' if ':' in each.reference else ':'}{each.reference}"
            moved = f"  from {short(each.old)} to {short(each.new)}" if each.old and each.new else ""
            yield f"  {clock(each.at, self.now)}  {each.kind:11}  {name}{moved}"
        if len(self.changes) > _SHOWN_CHANGES:
            yield f"  and {len(self.changes) - _SHOWN_CHANGES:,} more: --json has them"


def read_statistics(statistics: Statistics, since: float, now: datetime) -> StatisticsReport:
    """Return what is known of the time from ``since`` until ``now``. Raises StoreError."""
    return StatisticsReport(
        since,
        now,
        statistics.sums(since),
        statistics.series(since, _step(now.timestamp() - since)),
        {kind: statistics.top(kind, since, _LISTED) for kind in TOP_KINDS},
        statistics.changes(since),
        statistics.clients_gone(now.timestamp()),
    )


def spark(values: Sequence[int], blocks: str = BLOCKS) -> str:
    """Return a line of blocks as high as ``values``, the largest of which fills one; above nothing is never nothing."""
    most = max(values, default=0)
    steps = len(blocks) - 1
    return "".join(blocks[-(-value * steps // most) if most else 0] for value in values)


def _step(seconds: float) -> int:
    """Return how long a letter of the sparkline is, for one of ``seconds``."""
    steps = (BUCKET_SECONDS, 900, 1800, 3600, 7200, 14_400, 28_800, DAY_SECONDS)
    fitting = (step for step in steps if seconds <= step * (_WIDTH - 1))
    return next(fitting, -(-int(seconds) // (_WIDTH - 1) // DAY_SECONDS + 1) * DAY_SECONDS)


def _sums_document(sums: Sums) -> dict[str, object]:
    return {
        "requests": dict(sums.requests),
        "served": dict(sums.served),
        "saved": sums.saved_bytes,
        "fetched": dict(sums.fetched),
        "counted": dict(sums.counted),
        "errors": dict(sums.errors),
        "answer_seconds": {name: round(each, 3) for name, each in sums.answer_seconds().items()},
        "pulls": sums.pulls,
        "clients": sums.clients,
        "evicted_blobs": sums.evicted_blobs,
        "evicted_bytes": sums.evicted_bytes,
        "disk": {"used": sums.disk.used, "limit": sums.disk.limit, "free": sums.disk.free} if sums.disk else None,
    }


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _amount(entry: TopEntry, kind: TopKind) -> str:
    amount = size(entry.at_least) if kind == "saved" else f"{entry.at_least:,}"
    return amount if entry.at_least == entry.at_most else f"at least {amount}"


def _counts(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{name} {count:,}" for name, count in ordered)


def _sizes(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size(count)}" for name, count in sorted(counts.items()))


def _after(text: str) -> str:
    return f": {text}" if text else ""
