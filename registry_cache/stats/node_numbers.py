"""The few numbers that a cluster's node tells the others; added up over all nodes they are the cluster's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields

from registry_cache.stats.calendar import DAY_SECONDS, MONTH_DAYS
from registry_cache.stats.statistics import Statistics
from registry_cache.stats.sums import total


@dataclass(frozen=True, slots=True)
class NodeNumbers:
    """Bytes and pulls of the last 24 hours, as in ``Sums``; ``month_saved``: bytes of the last 30 days."""

    served: int = 0
    saved: int = 0
    fetched: int = 0
    pulls: int = 0
    month_saved: int = 0

    def document(self) -> dict[str, int]:
        """Return the JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, document: object) -> NodeNumbers | None:
        """Return the numbers of a ``document``; None where a node of another version told others."""
        if not isinstance(document, Mapping):
            return None
        values = [document.get(each.name) for each in fields(cls)]
        numbers = [value for value in values if isinstance(value, int)]
        return cls(*numbers) if len(numbers) == len(values) else None


def node_numbers(statistics: Statistics, now: float) -> NodeNumbers:
    """Return the numbers of this node. Raises StoreError."""
    day = statistics.sums(now - DAY_SECONDS)
    month = total(each.sums for each in statistics.by_day(now - (MONTH_DAYS - 1) * DAY_SECONDS))
    return NodeNumbers(day.served_bytes, day.saved_bytes, day.fetched_bytes, day.pulls, month.saved_bytes)


def all_nodes(numbers: Iterable[NodeNumbers]) -> NodeNumbers:
    """Return the sums of all nodes."""
    found = list(numbers)
    return NodeNumbers(*(sum(getattr(each, field.name) for each in found) for field in fields(NodeNumbers)))
