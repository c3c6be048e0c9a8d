"""Blobs while Redis is away: nodes that reach each other agree who asks the registry."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from registry_cache.cluster.membership import Membership
from registry_cache.errors import BlobUnknown
from registry_cache.oci.digest import Digest
from registry_cache.policy.leader_election import Holder
from registry_cache.policy.rendezvous_hash import rank
from registry_cache.pull.blob_body import Cut
from registry_cache.pull.cluster.placement import REST_SECONDS, Placement
from tests.harness.images import random_bytes
from tests.harness.near_rig import SEALS, NearNodes
from tests.harness.pull_rig import chunks
from tests.harness.store_rig import APP, OTHER
from tests.harness.targets import target_at
from tests.harness.upstream import FakeUpstream

pytestmark = pytest.mark.once

DATA = random_bytes(300_000, seed=4)
DIGEST = Digest.of(DATA)
RANKED = rank(DIGEST.hex, ["one", "two", "three"])


@pytest.fixture
def nodes(blind_nodes: NearNodes, upstream: FakeUpstream) -> NearNodes:
    upstream.add_blob(DATA)
    return blind_nodes


def everywhere(nodes: NearNodes) -> None:
    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(lambda node: node.blob(DIGEST), [*nodes.values()] * 2)) == {DATA}


def test_a_blob_that_all_nodes_want_is_transferred_once(nodes: NearNodes, upstream: FakeUpstream) -> None:
    everywhere(nodes)
    assert upstream.bytes_sent(str(DIGEST)) == len(DATA)


def test_where_the_first_is_gone_the_second_brings_it(nodes: NearNodes, upstream: FakeUpstream) -> None:
    nodes.pop(RANKED[0]).is_lost = True
    everywhere(nodes)
    assert upstream.bytes_sent(str(DIGEST)) == len(DATA)


def test_a_repository_that_lacks_it_gets_nothing(nodes: NearNodes) -> None:
    everywhere(nodes)
    for node in nodes.values():
        with pytest.raises(BlobUnknown):
            node.blob(DIGEST, OTHER)


def test_nodes_that_do_not_agree_bring_it_all_the_same(nodes: NearNodes, upstream: FakeUpstream) -> None:
    """The first knows nobody, and the second asks the third: nobody is sent round in a circle."""
    nodes[RANKED[0]].cluster.membership._known = []
    second = nodes[RANKED[1]].cluster.membership
    second._known = [node for node in second.known() if node.name != RANKED[0]]
    everywhere(nodes)
    assert upstream.bytes_sent(str(DIGEST)) <= 2 * len(DATA)


def test_wrong_bytes_that_another_node_was_sent_are_cut_and_fetched_anew(
    nodes: NearNodes, upstream: FakeUpstream
) -> None:
    upstream.faults.corrupt_at, upstream.faults.corrupt_times = 1000, 1
    upstream.faults.hold_at = 200_000
    second = nodes[RANKED[1]]
    with closing(second.blobs.get(target_at(second.registry, APP), DIGEST).body) as body:
        reading = chunks(body, 0, body.size)
        next(reading)
        upstream.faults.release()
        with pytest.raises(Cut):
            list(reading)
    everywhere(nodes)
    assert len(upstream.asked("GET", str(DIGEST))) <= 3


def test_configured_nodes_are_known_without_redis_and_those_that_fail_rest(nodes: NearNodes) -> None:
    now = 0.0
    x, y, z = urls = ["http://x:1", "http://y:1", "http://z:1"]
    membership = Membership(nodes["one"].redis, SEALS, "x", x)
    placement = Placement(x, membership, [z, y, x], lambda: now)
    hex = next(hex for hex in map(str, range(99)) if rank(hex, urls) == [y, z, x])

    assert placement.home(hex, set()) == Holder(y, y)
    assert placement.home(hex, {y}) == Holder(z, z)
    placement.rest(y)
    assert placement.home(hex, set()) == Holder(z, z)
    assert placement.home(hex, {z}) is None
    assert placement.home(hex, {"two", "silent"}) is None, "that is long enough to wait"
    now = REST_SECONDS
    assert placement.home(hex, set()) == Holder(y, y)
    assert Placement(x, membership).home(hex, set()) is None
