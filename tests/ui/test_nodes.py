"""What the page shows of a cluster: each node, and the sum of those that are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from registry_cache.stats.node_numbers import NodeNumbers
from registry_cache.ui.nodes import ClusterFacts, node_table

NOW = 1_700_000_000.0
MIB = 1 << 20


@dataclass(frozen=True)
class Node:
    name: str
    seen_at: float
    facts: Mapping[str, object]
    url: str = "http://10.0.0.1:5050"


def told(**numbers: int) -> Mapping[str, object]:
    return {"numbers": NodeNumbers(**numbers).document()}


def test_each_node_and_the_sum_of_those_that_are_there() -> None:
    nodes = [
        Node("a", NOW - 2, told(served=4 * MIB, saved=3 * MIB, fetched=MIB, pulls=7, month_saved=9 * MIB)),
        Node("b", NOW - 3, told(served=4 * MIB, saved=MIB, fetched=2 * MIB, pulls=1, month_saved=MIB)),
        Node("gone", NOW - 3600, told(served=MIB, saved=MIB)),
        # Of an earlier version.
        Node("old", NOW, {"version": "0.1"}),
    ]
    table = node_table(ClusterFacts("b", lambda: nodes), NOW)
    assert table is not None
    assert table.sum is not None
    assert [(row.name, row.note, list(row.cells)) for row in table.rows] == [
        ("a", "", ["3.0 MiB", "75 %", "1.0 MiB", "7", "9.0 MiB"]),
        ("b", "this node", ["1.0 MiB", "25 %", "2.0 MiB", "1", "1.0 MiB"]),
        ("gone", "not seen for 60 min", []),
        ("old", "", []),
    ]
    assert list(table.sum.cells) == ["4.0 MiB", "50 %", "3.0 MiB", "8", "10.0 MiB"]


def test_without_redis_and_without_a_cluster() -> None:
    table = node_table(ClusterFacts("a", lambda: None), NOW)
    assert table is not None
    assert (list(table.rows), table.sum) == ([], None)
    assert node_table(None, NOW) is None
