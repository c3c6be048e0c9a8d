"""A Redis that a stale replica has taken the place of, in the middle of a download: it knows what was true before."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from registry_cache.oci.digest import Digest
from tests.harness.images import MiB, random_bytes
from tests.harness.near_rig import NearNode
from tests.harness.pull_rig import chunks
from tests.harness.redis_server import RedisServer
from tests.harness.store_rig import APP
from tests.harness.targets import target_at
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

pytestmark = pytest.mark.once

DATA = random_bytes(2 * MiB, seed="an old truth")
DIGEST = Digest.of(DATA)


@pytest.fixture
def held(upstream: FakeUpstream) -> Iterator[FakeUpstream]:
    """An upstream that stops in the middle of the blob until it is released."""
    upstream.add_blob(DATA)
    upstream.faults.hold_at = MiB
    yield upstream
    upstream.faults.release()


@pytest.mark.parametrize("lost", ["the lease", "the lease, for another node's that has ended"])
def test_all_nodes_have_the_blob_and_it_is_sent_at_most_twice(
    near_nodes: list[NearNode], held: FakeUpstream, server: RedisServer, lost: str
) -> None:
    first, *others = near_nodes
    with closing(first.blobs.get(target_at(first.registry, APP), DIGEST).body) as body, ThreadPoolExecutor(4) as pool:
        reading = chunks(body, 0, body.size)
        got = next(reading)
        if lost == "the lease":
            server.ask("DEL", f"rc:1:lead:{DIGEST}")
        else:
            leases = others[0].cluster.leases
            old = leases.new("docker.io", str(APP))
            assert leases.take(str(DIGEST), leases.look(str(DIGEST), "").raw, old)
        pulls = [pool.submit(node.blob, DIGEST) for node in others]
        eventually(lambda: all(node.transfers.find(DIGEST) for node in others))
        held.faults.release()
        assert got + b"".join(reading) == DATA
        assert [pull.result() for pull in pulls] == [DATA] * 2
    assert held.bytes_sent(str(DIGEST)) <= 2 * len(DATA)
