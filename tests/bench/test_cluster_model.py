"""The arithmetic of large clusters stands on what three real nodes do, counted by a real Redis."""

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import cluster_model
from bench.cluster_model import (
    BEAT,
    BEAT_SECONDS,
    FETCH,
    FOLLOW_SECOND,
    LEAD,
    LEAD_SECOND,
    LOOK,
    LOOK_NODE,
    NODES,
    PINS,
    TAG,
    Image,
    Machines,
    bounds,
    cost,
    idle,
)
from registry_cache.cluster import membership
from registry_cache.cluster.membership import Membership
from registry_cache.cluster.notes import Notes
from registry_cache.pull.cluster.pins import NearPins
from registry_cache.store.layout import Layout
from registry_cache.store.pins import Pins
from tests.harness.cluster_rig import Cluster
from tests.harness.content import APP
from tests.harness.images import MiB, make_image, random_bytes
from tests.harness.near_rig import SEALS, SharedRedis
from tests.harness.pullers import Puller
from tests.harness.redis_server import RedisServer
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
    before = counted(cluster.redis)
    what()
    after = counted(cluster.redis)
    return sum(after.values()) - sum(before.values()) - BEAT * (after.get("sadd", 0) - before.get("sadd", 0))


def counted(redis: RedisServer) -> dict[str, int]:
    found = redis.ask("INFO", "commandstats").decode()
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


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    started = RedisServer(tmp_path / "redis")
    yield started
    started.stop()


def test_redis_executes_what_the_arithmetic_says_of_idle_nodes(
    redis: RedisServer, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the thread of a worker does it, for a thousand beats, of which the first twelve are its first minute."""
    client = SharedRedis(redis)
    others = [Membership(client, SEALS, f"node{number}", f"http://{number}") for number in range(1, 3)]
    for each in others:
        each.beat()

    def count(what: Callable[[], object]) -> int:
        before = sum(counted(redis).values())
        what()
        return sum(counted(redis).values()) - before

    pins = NearPins(Notes(client, SEALS, "pins"), Pins(layout))
    ours = Membership(client, SEALS, "node0", "http://0")
    assert count(ours.beat) == BEAT
    assert count(ours.remember) == LOOK + 3 * LOOK_NODE
    assert count(pins.exchange) == PINS
    # All of it together, by who says when it is due.
    beats = iter(range(1000))

    class Enough(BaseException):
        pass

    def sleep(seconds: float) -> None:
        assert seconds == BEAT_SECONDS
        if next(beats, None) is None:
            raise Enough

    one = Membership(client, SEALS, "node0", "http://0", exchange=pins.exchange)
    monkeypatch.setattr("registry_cache.cluster.membership.time.sleep", sleep)

    def run() -> None:
        with pytest.raises(Enough):
            one._run()

    of_one_worker = idle(3, Machines(workers=1)) / 3 * BEAT_SECONDS * 1000
    assert count(run) == pytest.approx(of_one_worker, rel=0.02)
    client.close()


def test_a_thousand_nodes_do_not_keep_redis_busy_with_who_is_there() -> None:
    assert idle(1000) < 0.2 * Machines().redis_commands
    # A node alone looks once a minute; a hundred do, and of more each looks more rarely.
    assert [membership.beats_to_look(20, nodes) for nodes in (0, 100, 199, 200, 1000)] == [12, 12, 12, 24, 120]
    assert [membership.beats_to_look(0, nodes) for nodes in (0, 100, 1000)] == [1, 1, 10]


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
