"""Nodes of which some do not reach some others, though all see Redis: who follows whom, and by whom."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from registry_cache.oci.digest import Digest
from registry_cache.pull.cluster import reach
from tests.harness.images import MiB, random_bytes
from tests.harness.near_rig import NearNode
from tests.harness.pull_rig import chunks
from tests.harness.store_rig import APP
from tests.harness.targets import target_at
from tests.harness.upstream import FakeUpstream

pytestmark = pytest.mark.once

DATA = random_bytes(2 * MiB, seed="closed ways")
DIGEST = Digest.of(DATA)
OTHERS_DATA = random_bytes(MiB, seed="after the first")
OTHERS_DIGEST = Digest.of(OTHERS_DATA)


@pytest.fixture
def held(upstream: FakeUpstream) -> Iterator[FakeUpstream]:
    """An upstream that stops in the middle of the blob until it is released."""
    upstream.add_blob(DATA)
    upstream.add_blob(OTHERS_DATA)
    upstream.faults.hold_at = MiB
    yield upstream
    upstream.faults.release()


def pull_while_the_first_leads(nodes: list[NearNode], upstream: FakeUpstream) -> None:
    """Have the first one lead, and all others ask in the middle of it."""
    first, *others = nodes
    with (
        closing(first.blobs.get(target_at(first.registry, APP), DIGEST).body) as body,
        ThreadPoolExecutor(4) as pool,
    ):
        reading = chunks(body, 0, body.size)
        got = next(reading)
        pulls = [pool.submit(node.blob, DIGEST) for node in others]
        for node in others:
            node.wait_for_some(DIGEST)
        upstream.faults.release()
        assert got + b"".join(reading) == DATA
        assert [pull.result() for pull in pulls] == [DATA] * len(others)


def test_who_does_not_reach_the_leader_follows_it_by_a_third(near_nodes: list[NearNode], held: FakeUpstream) -> None:
    first, second, _ = near_nodes
    first.hidden_from = {second.name}

    pull_while_the_first_leads(near_nodes, held)

    assert held.bytes_sent(str(DIGEST)) == len(DATA)


def test_and_fetches_what_it_has_by_a_third(near_nodes: list[NearNode], upstream: FakeUpstream) -> None:
    upstream.add_blob(DATA)
    first, second, _ = near_nodes
    assert first.blob(DIGEST) == DATA
    first.close()
    first.hidden_from = {second.name}

    assert second.blob(DIGEST) == DATA

    assert upstream.bytes_sent(str(DIGEST)) == len(DATA)


def test_a_leader_that_nobody_reaches_is_displaced_once(near_nodes: list[NearNode], held: FakeUpstream) -> None:
    first, second, third = near_nodes
    first.hidden_from = {second.name, third.name}
    held.faults.hold_at = MiB

    pull_while_the_first_leads(near_nodes, held)
    assert held.bytes_sent(str(DIGEST)) <= 2 * len(DATA)

    # It has found out by its next beat, and from then on lets another one ask.
    first.reach.beat()
    assert first.reach.deputy(DIGEST.hex)
    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(lambda node: node.blob(OTHERS_DIGEST), near_nodes)) == {OTHERS_DATA}
    assert held.bytes_sent(str(OTHERS_DIGEST)) == len(OTHERS_DATA)

    # Until it is reached again.
    first.hidden_from = set()
    for _ in range(reach._BEATS_A_LOOK):
        first.reach.beat()
    assert first.reach.deputy(DIGEST.hex) is None


def test_two_that_each_take_the_other_for_a_way_bring_it_all_the_same(
    near_nodes: list[NearNode], upstream: FakeUpstream
) -> None:
    """The ways have changed: neither of them reaches the one that has it, and each was told that the other does."""
    upstream.add_blob(DATA)
    first, *others = near_nodes
    for node in others:
        assert node.reach.find_way(first.name)
    assert first.blob(DIGEST) == DATA
    first.close()
    first.hidden_from = {node.name for node in others}

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(lambda node: node.blob(DIGEST), others)) == {DATA}

    assert upstream.bytes_sent(str(DIGEST)) <= 3 * len(DATA)


def test_a_node_that_knows_no_other_yet_finds_out_at_its_next_beat(near_nodes: list[NearNode]) -> None:
    first, *others = near_nodes
    first.hidden_from = {node.name for node in others}
    known, first.cluster.membership._known = first.cluster.membership._known, []
    first.reach.beat()
    first.cluster.membership._known = known
    assert first.reach.deputy(DIGEST.hex) is None
    first.reach.beat()
    assert first.reach.deputy(DIGEST.hex)


def test_a_node_that_nobody_reaches_and_that_reaches_nobody_asks_by_itself(
    near_nodes: list[NearNode], upstream: FakeUpstream
) -> None:
    upstream.add_blob(DATA)
    first = near_nodes[0]
    first.reach.is_reached = False
    first.is_lost = True

    assert first.blob(DIGEST) == DATA

    assert upstream.bytes_sent(str(DIGEST)) == len(DATA)
