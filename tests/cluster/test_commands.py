"""What ``status --cluster`` and ``check`` say of three nodes."""

from __future__ import annotations

import json

import pytest

from tests.harness.cluster_rig import Cluster
from tests.harness.content import APP
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

# See test_downloads.py.
pytestmark = pytest.mark.needs_root


def test_status_names_every_node_and_every_download(cluster: Cluster, upstream: FakeUpstream) -> None:
    blob = upstream.add_blob(bytes(1024 * 1024))
    upstream.faults.hold_at = 500_000
    pull = cluster.pullers[1].start_blob(APP, blob)
    pull.wait_for(100_000)

    done = cluster.nodes[0].run("status", "--cluster")
    document = json.loads(cluster.nodes[0].run("status", "--cluster", "--json").stdout)

    assert done.returncode == 0
    assert f"{blob[:19]} of {APP} from {upstream.address}, led by node2" in done.stdout
    assert [(node["name"], node["seen"], node["leads"]) for node in document["nodes"]] == [
        ("node1", True, 0),
        ("node2", True, 1),
        ("node3", True, 0),
    ]
    assert [node["outbox_entries"] for node in document["nodes"]] == [None] * 3, "there is no bucket"
    assert [each["digest"] for each in document["downloads"]] == [blob]
    upstream.faults.gate.set()
    pull.finish()


def test_check_asks_every_node_both_ways(cluster: Cluster) -> None:
    done = cluster.nodes[0].run("check")

    assert "ok      redis: it answers" in done.stdout
    assert done.stdout.count("ok      node2: we reach") == done.stdout.count("ok      node2: it reaches us") == 1
    assert done.stdout.count("ok      node3: ") == 2


def test_check_says_which_node_is_out_of_reach(cluster: Cluster) -> None:
    cluster.nodes[1].lose_power()

    done = cluster.nodes[0].run("check")

    assert done.returncode == 1
    assert f"failed  node2: we cannot reach http://127.0.0.1:{cluster.nodes[1].peers_port}" in done.stdout


def test_what_one_node_pins_holds_on_all_and_without_redis_check_says_so_and_status_ends(cluster: Cluster) -> None:
    def is_pinned(image: str) -> bool:
        return all(image in node.run("pins").stdout for node in cluster.nodes)

    first, second, _ = cluster.nodes
    assert first.run("pin", f"{APP}:1").returncode == 0
    eventually(lambda: is_pinned(f"{APP}:1"))
    cluster.redis.stop()
    done = second.run("pin", f"{APP}:2")
    assert (done.returncode, "is away" in done.stderr) == (0, True)
    assert f"{APP}:1" in second.run("pins").stdout

    assert "failed  redis: Redis at 127.0.0.1" in cluster.nodes[0].run("check").stdout
    done = cluster.nodes[0].run("status", "--cluster")
    assert done.returncode == 1
    assert "is away" in done.stderr


def test_a_fault_has_one_line_when_it_begins_and_one_when_it_ends(cluster: Cluster, upstream: FakeUpstream) -> None:
    def told(event: str) -> int:
        return sum(event in line for line in cluster.nodes[0].log_text().splitlines())

    cluster.redis.stop()
    eventually(lambda: told("Redis is away") == 2)
    for number in range(3):
        cluster.pullers[0].blob(upstream.add_blob(bytes([number])))
    cluster.redis.start()
    eventually(lambda: told("Redis is back") == 2)

    # Of each worker.
    assert told("Redis is away") == 2
