"""Downloads that three nodes share: one transfer, whatever happens to whoever leads it."""

from __future__ import annotations

from random import Random

import pytest

from tests.harness.cluster_rig import Cluster, Node
from tests.harness.content import APP
from tests.harness.pullers import Pull
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

# Real processes that wait for leases to run out: once a run of CI is enough, with the newest dependencies.
pytestmark = pytest.mark.needs_root

MiB = 1024 * 1024


def a_blob(upstream: FakeUpstream, size: int = 8 * MiB) -> str:
    return upstream.add_blob(Random(size).randbytes(size))


def pull_everywhere(cluster: Cluster, blob: str, clients: int = 1) -> list[Pull]:
    return [puller.start_blob(APP, blob) for puller in cluster.pullers for _ in range(clients)]


def leader_and_others(cluster: Cluster, blob: str) -> tuple[Node, list[int]]:
    """Who leads, once somebody does, and the numbers of the other nodes."""
    eventually(lambda: cluster.leader_of(blob) is not None)
    leader = cluster.leader_of(blob)
    assert leader is not None
    return leader, [number for number, node in enumerate(cluster.nodes) if node is not leader]


def test_thirty_clients_of_three_nodes_cost_one_download(cluster: Cluster, upstream: FakeUpstream) -> None:
    blob = a_blob(upstream)
    upstream.faults.hold_at = 4 * MiB
    pulls = pull_everywhere(cluster, blob, clients=10)
    for pull in pulls:
        pull.wait_for(4 * MiB - 256 * 1024)
    upstream.faults.gate.set()

    results = [pull.finish() for pull in pulls]
    assert [result.digest for result in results] == [blob] * 30
    assert upstream.bytes_sent(blob) == 8 * MiB
    assert {result.headers["X-Cache"] for result in results} == {"miss", "near", "join"}


def test_a_killed_leader_costs_no_client_of_another_node_anything(cluster: Cluster, upstream: FakeUpstream) -> None:
    blob = a_blob(upstream)
    upstream.faults.hold_at = 4 * MiB
    pulls = pull_everywhere(cluster, blob)
    for pull in pulls:
        pull.wait_for(4 * MiB - 256 * 1024)
    leader, others = leader_and_others(cluster, blob)

    leader.lose_power()
    eventually(lambda: leader_and_others(cluster, blob)[0] is not leader)
    upstream.faults.gate.set()

    assert [pulls[number].finish().digest for number in others] == [blob] * 2
    assert upstream.bytes_sent(blob) <= 1.05 * 8 * MiB


def test_a_killed_worker_is_followed_by_its_neighbour(cluster: Cluster, upstream: FakeUpstream) -> None:
    blob = a_blob(upstream)
    upstream.faults.hold_at = 4 * MiB
    pulls = pull_everywhere(cluster, blob, clients=4)
    for pull in pulls:
        pull.wait_for(4 * MiB - 256 * 1024)
    leader, others = leader_and_others(cluster, blob)

    for worker in leader.workers():
        leader.kill_worker(worker)
    upstream.faults.gate.set()

    results = [pulls[4 * number + client].finish() for number in others for client in range(4)]
    assert [result.digest for result in results] == [blob] * 8
    # What the connections of two killed workers held in their buffers.
    assert upstream.bytes_sent(blob) <= 10 * MiB


def test_a_leader_that_stands_still_is_replaced_and_follows_when_it_wakes(
    cluster: Cluster, upstream: FakeUpstream
) -> None:
    blob = a_blob(upstream, 32 * MiB)
    upstream.faults.rate = 1 * MiB
    pulls = pull_everywhere(cluster, blob)
    for pull in pulls:
        pull.wait_for(2 * MiB)
    leader, _ = leader_and_others(cluster, blob)

    leader.stand_still()
    eventually(lambda: leader_and_others(cluster, blob)[0] is not leader)
    leader.wake()
    eventually(lambda: "another node leads this download now" in leader.log_text())
    # As long as it may still read from the registry, its socket would take as many bytes more as come at once.
    eventually(lambda: upstream.in_flight(blob) == 1)
    upstream.faults.rate = None

    assert [pull.finish().digest for pull in pulls] == [blob] * 3
    # What its socket had taken while it stood still; without a word between them it would be 60 MiB.
    assert upstream.bytes_sent(blob) <= 44 * MiB


def test_without_redis_each_node_downloads_for_itself(cluster: Cluster, upstream: FakeUpstream) -> None:
    blob = a_blob(upstream)
    cluster.redis.stop()

    results = [pull.finish() for pull in pull_everywhere(cluster, blob, clients=3)]

    assert [result.digest for result in results] == [blob] * 9
    assert upstream.bytes_sent(blob) <= 3 * 8 * MiB
    assert all("Redis is away" in node.log_text() for node in cluster.nodes)


def test_a_redis_that_lost_its_memory_costs_nothing(cluster: Cluster, upstream: FakeUpstream) -> None:
    blob = a_blob(upstream)
    upstream.faults.hold_at = 4 * MiB
    first = cluster.pullers[0].start_blob(APP, blob)
    first.wait_for(4 * MiB - 256 * 1024)

    cluster.redis.stop()
    cluster.redis.start()
    others = [puller.start_blob(APP, blob) for puller in cluster.pullers[1:]]
    for pull in others:
        pull.wait_for(4 * MiB - 256 * 1024)
    upstream.faults.gate.set()

    assert [pull.finish().digest for pull in [first, *others]] == [blob] * 3
    assert upstream.bytes_sent(blob) == 8 * MiB


def test_wrong_bytes_reach_no_client_of_any_node_and_cost_two_requests(
    cluster: Cluster, upstream: FakeUpstream
) -> None:
    blob = a_blob(upstream)
    upstream.faults.corrupt_at = 7 * MiB
    upstream.faults.hold_at = 4 * MiB
    pulls = pull_everywhere(cluster, blob, clients=3)
    for pull in pulls:
        pull.wait_for(4 * MiB - 256 * 1024)
    upstream.faults.gate.set()

    results = [pull.finish() for pull in pulls]
    assert not any(result.complete for result in results)
    assert upstream.gets(blob) == 2


def test_bytes_that_were_wrong_once_are_right_for_who_asks_again(cluster: Cluster, upstream: FakeUpstream) -> None:
    blob = a_blob(upstream)
    upstream.faults.corrupt_at, upstream.faults.corrupt_times = 7 * MiB, 1
    for pull in pull_everywhere(cluster, blob):
        pull.finish()

    results = [pull.finish() for pull in pull_everywhere(cluster, blob)]

    assert [result.digest for result in results] == [blob] * 3
    assert upstream.gets(blob) == 2


def test_the_error_of_the_leader_is_that_of_all(cluster: Cluster, upstream: FakeUpstream) -> None:
    blob = a_blob(upstream)
    upstream.faults.hold_before = "/blobs/"
    upstream.faults.answer("/blobs/", 403)
    pulls = pull_everywhere(cluster, blob)
    upstream.wait_until(lambda: upstream.in_flight(blob) == 1)
    upstream.faults.gate.set()

    assert [pull.finish().status for pull in pulls] == [403] * 3


def test_what_a_node_has_is_not_downloaded_again(cluster: Cluster, upstream: FakeUpstream) -> None:
    blob = a_blob(upstream)
    assert cluster.pullers[0].blob(blob).headers["X-Cache"] == "miss"

    answers = [puller.blob(blob) for puller in cluster.pullers[1:]]

    assert [answer.headers["X-Cache"] for answer in answers] == ["near", "near"]
    assert upstream.gets(blob) == 1
