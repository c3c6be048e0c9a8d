"""What ``registry-cache pulls`` reports: who pulled what, and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from registry_cache.stats.journal import Pull
from registry_cache.upkeep.report import Report, clock, iso, short, table


@dataclass(frozen=True, slots=True)
class PullsReport(Report):
    """Pulls, the newest first, at ``now``, in the reader's time zone. ``has_journal``: pulls are recorded."""

    pulls: Sequence[Pull]
    now: datetime
    has_journal: bool

    def lines(self) -> Iterator[str]:
        if not self.has_journal:
            yield "pulls are not recorded: statistics.journal.days is 0, or statistics.clients is false"
        elif not self.pulls:
            yield "no pulls are known"
        else:
            yield from table([("WHEN", "CLIENT", "USER", "OUTCOME", "IMAGE", "DIGEST"), *map(self._row, self.pulls)])

    def document(self) -> dict[str, object]:
        """docs/reference.md explains each value."""
        return {
            "pulls": [
                {
                    "at": iso(each.at),
                    "client": each.client,
                    "user": each.user or None,
                    "upstream": each.upstream,
                    "repository": each.repository,
                    "tag": each.tag or None,
                    "digest": each.digest or None,
                    "platforms": each.platforms,
                    "outcome": each.outcome,
                    "status": each.status,
                }
                for each in self.pulls
            ]
        }

    def _row(self, each: Pull) -> tuple[str, ...]:
        name = f"{each.upstream}/{each.repository}" + (f":{each.tag}" if each.tag else "")
        when = clock(each.at, self.now)
        return when, each.client, each.user or "-", each.outcome, name, short(each.digest)
