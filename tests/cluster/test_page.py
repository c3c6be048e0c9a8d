"""The page of one node shows all nodes, each with its own numbers, and the sum."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from tests.harness.cluster_rig import Cluster
from tests.harness.month import write_month
from tests.harness.page_rig import DEBUG, debug_url
from tests.harness.pullers import Puller
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

# See test_downloads.py.
pytestmark = pytest.mark.needs_root


def test_each_nodes_page_shows_the_nodes_and_the_sum(tmp_path: Path, upstream: FakeUpstream) -> None:
    # Both have the same month behind them.
    for name in ("node1", "node2"):
        write_month(tmp_path / name / "store")
    cluster = Cluster(tmp_path, upstream.url, nodes=2, config=DEBUG)
    try:
        cluster.wait_until_ready()
        with Puller(debug_url(cluster.nodes[0])) as page:
            rows: dict[str, list[str]] = {}

            def all_are_there() -> bool:
                rows.update(node_rows(page.get("/ui/").body.decode()))
                return {"node1 this node", "node2"} <= rows.keys() and all(len(row) == 5 for row in rows.values())

            eventually(all_are_there)
            mine, other, together = (rows[name] for name in ("node1 this node", "node2", "All nodes seen"))
            assert mine == other
            assert pulls(together) == 2 * pulls(mine) > 0
            assert together[1] == mine[1]

            cluster.redis.stop()
            eventually(lambda: b"Redis does not answer, so this node" in page.get("/ui/").body)
    finally:
        cluster.stop()


def node_rows(page: str) -> dict[str, list[str]]:
    section = page.partition('id="nodes"')[2].partition("</table>")[0]
    found = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', section, re.DOTALL)
    return {" ".join(words(name)): words(cells) for name, cells in found}


def words(markup: str) -> list[str]:
    return [html.unescape(each).strip() for each in re.split(r"<[^>]*>", markup) if each.strip()]


def pulls(row: list[str]) -> int:
    return int(row[3].replace(",", ""))
