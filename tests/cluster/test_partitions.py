"""Machines that vanish, nodes that do not reach each other, a Redis that nobody reaches, a full disk, an upgrade."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.harness.clocks import clock_ahead
from tests.harness.cluster_rig import Cluster, Node
from tests.harness.content import APP
from tests.harness.firewall import Firewall
from tests.harness.images import make_image
from tests.harness.network import inside, own_network
from tests.harness.pullers import Puller
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

pytestmark = pytest.mark.needs_root

MiB = 1024 * 1024
SIZE = 8 * MiB


class Site:
    """Three nodes and an upstream on a network of their own."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.upstream = FakeUpstream()
        self.cluster = Cluster(folder, self.upstream.url, workers=workers)
        self.firewall = Firewall()
        self.cluster.wait_until_ready()
        self.blob = self.upstream.add_blob(Random(1).randbytes(SIZE))

    def leader(self) -> Node:
        eventually(lambda: self.cluster.leader_of(self.blob) is not None)
        found = self.cluster.leader_of(self.blob)
        assert found is not None
        return found

    def stop(self) -> None:
        self.firewall.mend()
        self.upstream.faults.release()
        self.cluster.stop()
        self.upstream.stop()


@pytest.fixture(scope="module")
def network() -> Iterator[int]:
    """The sites' network, of this module: processes to fork servers from are started once for each."""
    with own_network():
        found = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    yield found
    os.close(found)


@pytest.fixture
def site(request: pytest.FixtureRequest, network: int, tmp_path: Path) -> Iterator[Site]:
    """Nodes with two workers each, or as many as a parameter says."""
    with inside(network):
        found = Site(tmp_path / "cluster", getattr(request, "param", 2))
        yield found
        found.stop()


one_worker_each = pytest.mark.parametrize("site", [1], indirect=True, ids=["one worker each"])


@one_worker_each
def test_a_machine_that_is_gone_without_a_word(site: Site) -> None:
    site.upstream.faults.hold_at = SIZE // 2
    pulls = [puller.start_blob(APP, site.blob) for puller in site.cluster.pullers]
    for pull in pulls:
        pull.wait_for(SIZE // 2 - 256 * 1024)
    leader = site.leader()

    site.firewall.drop(leader.peers_port)
    leader.lose_power()
    eventually(lambda: site.leader() is not leader)
    site.upstream.faults.gate.set()

    others = [pull for node, pull in zip(site.cluster.nodes, pulls, strict=True) if node is not leader]
    assert [pull.finish().digest for pull in others] == [site.blob] * 2
    assert site.upstream.bytes_sent(site.blob) <= 1.1 * SIZE


def test_nodes_that_see_redis_and_not_each_other(site: Site) -> None:
    site.firewall.drop(*(node.peers_port for node in site.cluster.nodes))
    site.upstream.faults.rate = 2 * MiB

    pulls = [puller.start_blob(APP, site.blob) for puller in site.cluster.pullers for _ in range(2)]

    assert [pull.finish().digest for pull in pulls] == [site.blob] * 6
    assert site.upstream.bytes_sent(site.blob) <= 3.3 * SIZE


@one_worker_each
def test_a_node_that_reaches_others_and_that_no_other_reaches(site: Site) -> None:
    hidden, *_ = site.cluster.nodes
    site.firewall.drop(hidden.peers_port)
    site.upstream.faults.hold_at = SIZE // 2
    pulls = [puller.start_blob(APP, site.blob) for puller in site.cluster.pullers[:1]]
    pulls[0].wait_for(SIZE // 2 - 256 * 1024)
    pulls += [puller.start_blob(APP, site.blob) for puller in site.cluster.pullers[1:]]
    eventually(lambda: site.leader() is not hidden)
    site.upstream.faults.release()
    assert [pull.finish().digest for pull in pulls] == [site.blob] * 3
    assert site.upstream.bytes_sent(site.blob) <= 2 * SIZE

    # From its next beat on it has another one lead.
    eventually(lambda: "other nodes do not reach this one" in hidden.log_text())
    blob = site.upstream.add_blob(Random(3).randbytes(SIZE))
    assert [puller.start_blob(APP, blob).finish().digest for puller in site.cluster.pullers] == [blob] * 3
    assert site.upstream.bytes_sent(blob) == SIZE


def test_nodes_that_see_each_other_and_not_redis(site: Site) -> None:
    # Each worker has looked who the others are.
    looks = (f'"PTTL" "rc:1:node:{node.name}"'.encode() for node in site.cluster.nodes)
    site.cluster.redis.wait_for_clients(6, *looks)
    site.upstream.faults.rate = 4 * MiB
    first = site.cluster.pullers[0].start_blob(APP, site.blob)
    first.wait_for(1 * MiB)

    site.firewall.drop(site.cluster.redis.port)
    others = [puller.start_blob(APP, site.blob) for puller in site.cluster.pullers[1:]]

    assert [pull.finish().digest for pull in [first, *others]] == [site.blob] * 3
    assert site.upstream.bytes_sent(site.blob) <= 2.1 * SIZE

    # They agree who asks for what nobody asked for before.
    blob = site.upstream.add_blob(Random(2).randbytes(SIZE))
    pulls = [puller.start_blob(APP, blob) for puller in site.cluster.pullers for _ in range(2)]
    assert [pull.finish().digest for pull in pulls] == [blob] * 6
    assert site.upstream.bytes_sent(blob) == SIZE

    # And for a manifest.
    image = make_image(site.upstream, tag="1")
    answers = [puller.manifest("1") for puller in site.cluster.pullers]
    assert {answer.headers["Docker-Content-Digest"] for answer in answers} == {image.digest}
    assert site.upstream.counted_pulls == 1


@one_worker_each
def test_a_redis_that_accepts_and_answers_nothing_costs_a_client_a_moment(site: Site) -> None:
    site.cluster.redis.pause()
    try:
        results = [puller.start_blob(APP, site.blob).finish() for puller in site.cluster.pullers]
    finally:
        site.cluster.redis.go_on()

    assert [result.digest for result in results] == [site.blob] * 3
    assert all((result.first_byte_seconds or 99) < 5 for result in results)


@one_worker_each
def test_followers_go_on_while_redis_is_away(site: Site) -> None:
    site.upstream.faults.hold_at = SIZE // 2
    pulls = [puller.start_blob(APP, site.blob) for puller in site.cluster.pullers]
    for pull in pulls:
        pull.wait_for(SIZE // 2 - 256 * 1024)

    site.firewall.drop(site.cluster.redis.port)
    eventually(lambda: all("Redis is away" in node.log_text() for node in site.cluster.nodes))
    site.upstream.faults.gate.set()

    assert [pull.finish().digest for pull in pulls] == [site.blob] * 3
    assert site.upstream.bytes_sent(site.blob) == SIZE


def test_a_full_disk_of_one_node_costs_its_clients_nothing(
    cluster: Cluster, upstream: FakeUpstream, small_disk: Path, tmp_path: Path
) -> None:
    blob = upstream.add_blob(Random(2).randbytes(12 * MiB))
    cluster.has_strangers = True
    full = Node("full", tmp_path / "full", upstream.url, cluster.redis, root=small_disk / "store", workers=1)
    try:
        with Puller(full.url) as puller:
            results = [puller.start_blob(APP, blob).finish() for puller in [puller, *cluster.pullers]]
    finally:
        full.stop()

    assert [result.digest for result in results] == [blob] * 4
    assert upstream.bytes_sent(blob) <= 3 * 12 * MiB


def test_an_upgrade_of_one_node_after_the_other_cuts_nobody(cluster: Cluster, upstream: FakeUpstream) -> None:
    upstream.faults.rate = 2 * MiB
    for number, node in enumerate(cluster.nodes):
        blob = upstream.add_blob(Random(10 + number).randbytes(4 * MiB))
        pulls = [puller.start_blob(APP, blob) for puller in cluster.pullers]
        for pull in pulls:
            pull.wait_for(1 * MiB)

        node.restart()

        assert [pull.finish().digest for pull in pulls] == [blob] * 3


def test_a_node_whose_clock_is_ten_minutes_fast_shares_both_ways(
    cluster: Cluster, upstream: FakeUpstream, tmp_path: Path
) -> None:
    cluster.has_strangers = True
    environment = clock_ahead(tmp_path / "clock", minutes=10)
    early = Node("early", tmp_path / "early", upstream.url, cluster.redis, environment=environment)
    try:
        # Each worker of it has seen Redis, and with that the time.
        cluster.redis.wait_for_clients(8, b'"TIME"')
        with Puller(early.url) as puller:
            image = make_image(upstream, tag="1")
            for number, order in enumerate(([puller, *cluster.pullers], [*cluster.pullers, puller])):
                blob = upstream.add_blob(Random(20 + number).randbytes(1 * MiB))
                answers = [each.blob(blob) for each in order]
                assert [answer.headers["X-Cache"] for answer in answers] == ["miss", "near", "near", "near"]
                assert upstream.gets(blob) == 1
                assert {each.manifest("1").headers["Docker-Content-Digest"] for each in order} == {image.digest}
            assert upstream.counted_pulls == 1
        assert "set them with NTP" in early.run("check").stdout
    finally:
        early.stop()
