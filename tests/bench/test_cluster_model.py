"""The arithmetic of large clusters stands on what three real nodes do, counted by a real Redis."""

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import cluster_model
from bench.cluster_model import BEAT, FETCH, FOLLOW_SECOND, LEAD, LEAD_SECOND, NODES, TAG, Image, Machines, bounds, cost
from tests.harness.cluster_rig import Cluster
from tests.harness.content import APP
from tests.harness.images import MiB, make_image, random_bytes
from tests.harness.pullers import Puller
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually


@pytest.fixture
def cluster(upstream: FakeUpstream, tmp_path: Path) -> Iterator[Cluster]:
    started = Cluster(tmp_path / "cluster", upstream.url)
    started.wait_until_ready()
    yield started
    started.stop()


def commands(cluster: Cluster, what: Callable[[], object]) -> int:
    """What Redis executes meanwhile, without what nodes say of themselves now and then."""
    before = counted(cluster)
    what()
    after = counted(cluster)
    return sum(after.values()) - sum(before.values()) - BEAT * (after.get("sadd", 0) - before.get("sadd", 0))


def counted(cluster: Cluster) -> dict[str, int]:
    found = cluster.redis.ask("INFO", "commandstats").decode()
    calls = {name: int(count) for name, count in re.findall(r"cmdstat_(\w+):calls=(\d+)", found)}
    calls.pop("info", None)
    calls.pop("exists", None)
    return calls


def test_redis_executes_what_the_arithmetic_says(cluster: Cluster, upstream: FakeUpstream) -> None:
    first, second, third = cluster.pullers
    blobs = [upstream.add_blob(random_bytes(2 * MiB, seed=seed)) for seed in range(2)]
    make_image(upstream, tag="1")

    def pull(puller: Puller, blob: str) -> None:
        assert puller.start_blob(APP, blob).finish().digest == blob
        # A client has all before the lease is given back.
        eventually(lambda: cluster.redis.ask("EXISTS", f"rc:1:lead:{blob}") == b":0\r\n")

    # Until Redis has been there for some seconds, nobody takes a lease.
    pull(first, blobs[0])
    first.manifest("1")

    assert commands(cluster, lambda: pull(first, blobs[1])) == pytest.approx(LEAD, abs=2 * LEAD_SECOND)
    assert commands(cluster, lambda: pull(second, blobs[1])) == pytest.approx(FETCH, abs=2 * FOLLOW_SECOND)
    assert commands(cluster, lambda: pull(third, blobs[1])) == pytest.approx(FETCH, abs=2 * FOLLOW_SECOND)
    # A hit asks nobody; what nodes say of themselves in the same moment is not quite as much each time.
    eventually(lambda: commands(cluster, lambda: pull(first, blobs[1])) == 0)
    assert commands(cluster, lambda: first.manifest("1")) == pytest.approx(TAG, abs=3)


def test_a_rollout_costs_the_registry_the_same_whatever_the_number_of_nodes() -> None:
    costs = [cost(nodes) for nodes in NODES]

    same = {(each.registry_bytes, each.registry_gets, each.registry_heads, each.bucket_requests) for each in costs}
    assert len(same) == 1
    assert costs[0].registry_bytes == Image().size
    for fewer, more in itertools.pairwise(costs):
        assert fewer.redis_first_second < more.redis_first_second
        assert fewer.peer_bytes < more.peer_bytes
        assert fewer.client_seconds > more.client_seconds


def test_one_node_has_no_peers() -> None:
    alone = cost(1)

    assert (alone.peer_bytes, alone.leader_seconds) == (0, 0)


def test_the_first_bound_is_where_a_leader_cannot_feed_its_followers() -> None:
    first, *others = bounds()

    assert first.what == "a leader's network"
    below, above = cost(int(first.nodes) - 1), cost(int(first.nodes) + 2)
    line = Image().size / Machines().line
    assert below.leader_seconds < line < above.leader_seconds
    assert all(bound.nodes > first.nodes for bound in others)


def test_the_figures_that_are_written_down_are_these() -> None:
    written = Path(cluster_model.__file__).parent / "results" / "cluster-simulation.txt"

    assert written.read_text(encoding="utf-8").splitlines()[2:] == list(cluster_model.lines())
