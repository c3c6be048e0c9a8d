"""The nodes of a cluster, each with its own numbers, and the sum of all: as each last reported them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from registry_cache.stats.node_numbers import NodeNumbers, all_nodes
from registry_cache.ui.sentence import Tone
from registry_cache.ui.words import count, cut, share, size, span
from registry_cache.upkeep.cluster_text import UNSEEN_SECONDS, NodeFacts


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """``node`` is what this node calls itself; ``look`` returns all of them, None where Redis does not answer."""

    node: str
    look: Callable[[], Sequence[NodeFacts] | None]


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One node, or all: ``cells`` are what ``NodeTable.HEAD`` names, empty for a node that sent no numbers."""

    name: str
    note: str
    tone: Tone
    cells: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class NodeTable:
    """A row for each node, and the sum of those that are there, None where nobody knows."""

    HEAD = ("Saved in 24 hours", "From the cache", "Fetched", "Pulls", "Saved in 30 days")

    rows: Sequence[NodeRow]
    sum: NodeRow | None


def node_table(cluster: ClusterFacts | None, now: float) -> NodeTable | None:
    """Return the nodes as seen ``now``, in seconds since the epoch; None where there is no cluster."""
    if cluster is None:
        return None
    nodes = cluster.look()
    if nodes is None:
        return NodeTable((), None)
    rows, there = [], []
    for node in nodes:
        numbers = NodeNumbers.of(node.facts.get("numbers"))
        silent = now - node.seen_at
        if silent >= UNSEEN_SECONDS:
            rows.append(NodeRow(cut(node.name, 60), f"not seen for {span(silent)}", "bad"))
            continue
        there += [numbers] if numbers else []
        note = "this node" if node.name == cluster.node else ""
        rows.append(NodeRow(cut(node.name, 60), note, "good", _cells(numbers) if numbers else ()))
    return NodeTable(rows, NodeRow("All nodes seen", "", "good", _cells(all_nodes(there))))


def _cells(numbers: NodeNumbers) -> list[str]:
    part = share(numbers.saved, numbers.served)
    return [size(numbers.saved), part, size(numbers.fetched), count(numbers.pulls), size(numbers.month_saved)]
