"""What was counted in a span of time. Two spans' sums added are the sums of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Counts = Mapping[str, int]

# Bytes of an answer with one of these outcomes did not have to come from upstream for it.
SAVING = ("hit", "join", "near", "revalidated", "stale")
# The outcome of a request that has none: an error, a ping, a list.
NO_OUTCOME = "none"

# Those of the fields that map a name to a number.
MAPS = ("requests", "served", "fetched", "counted", "errors", "answered", "answer_ms")
# Those that are numbers, and of several spans the sum.
NUMBERS = ("pulls", "evicted_blobs", "evicted_bytes")
_ALL_NUMBERS = (*NUMBERS, "clients")


@dataclass(frozen=True, slots=True)
class DiskUse:
    """Bytes that the store holds, may hold (0: no limit but the disk), and that its disk has left."""

    used: int
    limit: int
    free: int


@dataclass(frozen=True, slots=True)
class Sums:
    """What was counted.

    ``requests`` and ``served`` (bytes of bodies to clients) by outcome word, ``fetched`` (bytes from upstream) by
    upstream, ``counted`` (requests that upstream's limit counts) by upstream and account with a blank between,
    ``errors`` by class, ``answered`` (requests that upstream answered, whatever it said) and ``answer_ms`` (how many
    milliseconds these took together) by upstream. ``pulls``: images asked for, see docs/reference.md. ``clients``:
    different ones; of several spans, those of the busiest. ``disk``: as it was at the end; None where nobody looked.
    """

    requests: Counts = field(default_factory=dict)
    served: Counts = field(default_factory=dict)
    fetched: Counts = field(default_factory=dict)
    counted: Counts = field(default_factory=dict)
    errors: Counts = field(default_factory=dict)
    answered: Counts = field(default_factory=dict)
    answer_ms: Counts = field(default_factory=dict)
    pulls: int = 0
    clients: int = 0
    evicted_blobs: int = 0
    evicted_bytes: int = 0
    disk: DiskUse | None = None

    @property
    def request_count(self) -> int:
        return sum(self.requests.values())

    @property
    def served_bytes(self) -> int:
        return sum(self.served.values())

    @property
    def saved_bytes(self) -> int:
        """Bytes that clients got and that did not come from upstream for them."""
        return sum(self.served.get(outcome, 0) for outcome in SAVING)

    @property
    def fetched_bytes(self) -> int:
        return sum(self.fetched.values())

    @property
    def saved_share(self) -> float | None:
        """Return the saved part of what was served, 0 to 1; None where nothing was."""
        return self.saved_bytes / self.served_bytes if self.served_bytes else None

    def answer_seconds(self) -> dict[str, float]:
        """Return how long the answers of each upstream took on average."""
        return {name: self.answer_ms.get(name, 0) / 1000 / count for name, count in self.answered.items() if count}

    def counted_by_upstream(self) -> Counts:
        """Return the counted requests of each upstream, whatever the account."""
        found: Counter[str] = Counter()
        for key, count in self.counted.items():
            found[key.partition(" ")[0]] += count
        return found

    def __add__(self, later: Sums) -> Sums:
        """Return the sums of both; ``later`` is, of the two, the one whose disk is still true."""
        return total((self, later))

    def document(self) -> dict[str, object]:
        """Return the JSON values of whatever is not nothing."""
        values = {name: getattr(self, name) for name in (*MAPS, *_ALL_NUMBERS)}
        found: dict[str, object] = {
            name: dict(value) if name in MAPS else value for name, value in values.items() if value
        }
        if self.disk:
            found["disk"] = [self.disk.used, self.disk.limit, self.disk.free]
        return found

    @classmethod
    def of(cls, document: object) -> Sums:
        """Return the sums of a ``document``. Raises ValueError."""
        if not isinstance(document, dict):
            raise ValueError("sums are not a JSON object")
        disk = document.get("disk")
        values: dict[str, Any] = {name: counts_of(document.get(name, {})) for name in MAPS}
        values |= {name: int(document.get(name, 0)) for name in _ALL_NUMBERS}
        use = DiskUse(*map(int, disk)) if isinstance(disk, list) and len(disk) == 3 else None
        return cls(**values, disk=use)


def total(sums: Iterable[Sums]) -> Sums:
    """Return the sums of all, the latest last; without a new object for each of thousands."""
    maps: dict[str, dict[str, int]] = {name: {} for name in MAPS}
    numbers = dict.fromkeys(_ALL_NUMBERS, 0)
    disk = None
    for each in sums:
        for name, found in maps.items():
            for key, count in getattr(each, name).items():
                found[key] = found.get(key, 0) + count
        for name in NUMBERS:
            numbers[name] += getattr(each, name)
        numbers["clients"] = max(numbers["clients"], each.clients)
        disk = each.disk or disk
    values: dict[str, Any] = {**maps, **numbers}
    return Sums(**values, disk=disk)


def counts_of(value: object) -> Counts:
    """Return a JSON object's numbers. Raises ValueError."""
    if not isinstance(value, dict) or not all(isinstance(each, int) for each in value.values()):
        raise ValueError("counts are not a JSON object of numbers")
    return value
