"""`cluster.standby`: what one client of one node waits for is on a second node, too, should the first one die."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from registry_cache.oci.digest import Digest
from tests.harness.images import MiB, random_bytes
from tests.harness.near_rig import NearNode, three_nodes
from tests.harness.pull_rig import chunks
from tests.harness.redis_server import RedisServer
from tests.harness.store_rig import APP
from tests.harness.targets import target_at
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

pytestmark = pytest.mark.once

DATA = random_bytes(2 * MiB, seed="standby")
DIGEST = Digest.of(DATA)
HELD = MiB


@pytest.fixture
def nodes(tmp_path: Path, empty_server: RedisServer, upstream: FakeUpstream) -> Iterator[list[NearNode]]:
    upstream.add_blob(DATA)
    found = three_nodes(tmp_path, empty_server, upstream.url, standby=len(DATA))
    yield found
    upstream.faults.release()
    for node in found:
        node.close()


def bytes_on(node: NearNode) -> int:
    partial = node.store.partials.open(DIGEST)
    return partial.size() if partial else 0


def has(node: NearNode, digest: Digest = DIGEST) -> bool:
    return node.store.blobs.open_any(digest) is not None


def test_a_second_node_has_what_the_first_has_and_keeps_it(nodes: list[NearNode], upstream: FakeUpstream) -> None:
    first, *others = nodes
    upstream.faults.hold_at = HELD
    with closing(first.blobs.get(target_at(first.registry, APP), DIGEST).body) as body:
        reading = chunks(body, 0, body.size)
        got = next(reading)
        # All but what is withheld of what is here.
        eventually(lambda: max(map(bytes_on, others)) >= bytes_on(first) - 1 > HELD // 2)
        upstream.faults.release()
        assert got + b"".join(reading) == DATA
    [second] = [node for node in others if node.transfers.find(DIGEST) or has(node)]
    # It is known to the repository, too.
    eventually(lambda: second.blobs.get_stored(target_at(second.registry, APP), DIGEST) is not None)
    assert upstream.bytes_sent(str(DIGEST)) == len(DATA)

    first.is_lost = True
    upstream.stop()
    assert second.blob(DIGEST) == DATA


def test_a_smaller_blob_is_on_the_first_alone(nodes: list[NearNode], upstream: FakeUpstream) -> None:
    small = Digest.parse(upstream.add_blob(DATA[1:]))
    assert nodes[0].blob(small) == DATA[1:]
    nodes[0].close()
    assert [has(node, small) for node in nodes] == [True, False, False]


def test_where_redis_is_away_no_second_node_asks_the_registry(nodes: list[NearNode], upstream: FakeUpstream) -> None:
    for node in nodes:
        node.redis.is_away = True
    first = next(node for node in nodes if node.cluster.placement.home(DIGEST.hex) is None)
    assert first.blob(DIGEST) == DATA
    first.close()
    assert upstream.bytes_sent(str(DIGEST)) == len(DATA)
    assert [node for node in nodes if has(node)] == [first]
