"""What ``registry-cache status --cluster`` says of all nodes, from what they last said in Redis. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from registry_cache.policy.leader_election import Lease
from registry_cache.upkeep.report import Report, age, clock, counted, iso, short, size, table

# A node that has said nothing for so long is not seen: it speaks every five seconds.
UNSEEN_SECONDS = 15.0


class NodeFacts(Protocol):
    """A node as it described itself at ``seen_at``, in seconds since the epoch by our clock."""

    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def seen_at(self) -> float: ...
    @property
    def facts(self) -> Mapping[str, object]: ...


@dataclass(frozen=True, slots=True)
class ClusterReport(Report):
    """All nodes and, by digest, the downloads that they lead, as seen ``now``, in the reader's time zone."""

    redis: str
    nodes: Sequence[NodeFacts]
    leases: Mapping[str, Lease]
    now: datetime

    def lines(self) -> Iterator[str]:
        yield f"nodes, as Redis at {self.redis} knows them"
        for row in table([(*_names(node), self._state(node)) for node in self.nodes]):
            yield f"  {row}"
        if not self.nodes:
            yield "  none has said that it is there: start registry-cache on one"
        yield "downloads"
        for digest, lease in sorted(self.leases.items()):
            yield f"  {short(digest)} of {lease.repository} from {lease.upstream}, led by {lease.node}"
        if not self.leases:
            yield "  none"

    def document(self) -> dict[str, object]:
        return {
            "redis": self.redis,
            "nodes": [self._node(each) for each in self.nodes],
            "downloads": [
                {"digest": digest, "node": lease.node, "upstream": lease.upstream, "repository": lease.repository}
                for digest, lease in sorted(self.leases.items())
            ],
        }

    def _is_seen(self, node: NodeFacts) -> bool:
        return self.now.timestamp() - node.seen_at < UNSEEN_SECONDS

    def _lead_count(self, node: NodeFacts) -> int:
        return sum(lease.node == node.name for lease in self.leases.values())

    def _state(self, node: NodeFacts) -> str:
        if not self._is_seen(node):
            return f"not seen since {clock(node.seen_at, self.now)} ({age(node.seen_at, self.now)})"
        free = _number(node.facts.get("free"))
        room = f", {size(free)} free" if free is not None else ""
        waiting = _number(node.facts.get("outbox"))
        outbox = f", {waiting} waiting for the bucket" if waiting else ""
        return f"leads {counted(self._lead_count(node), 'download')}{room}{outbox}"

    def _node(self, node: NodeFacts) -> dict[str, object]:
        return {
            "name": node.name,
            "url": node.url,
            "version": node.facts.get("version"),
            "free_bytes": _number(node.facts.get("free")),
            "seen_at": iso(node.seen_at),
            "seen": self._is_seen(node),
            "leads": self._lead_count(node),
            "outbox_entries": _number(node.facts.get("outbox")),
        }


def _names(node: NodeFacts) -> tuple[str, str, str]:
    return node.name, node.url, str(node.facts.get("version", "?"))


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None
