"""What a node gives to another one that asks for a blob at the moment when its download ends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from registry_cache.oci.digest import Digest
from registry_cache.store.blobs import OpenBlob
from tests.harness.images import random_bytes
from tests.harness.near_rig import NearNode
from tests.harness.pull_rig import chunks
from tests.harness.store_rig import APP
from tests.harness.targets import target_at
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

SIZE = 150_000


def test_a_blob_that_is_kept_while_another_node_asks_is_held(
    near_nodes: list[NearNode], upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, data = near_nodes[0], random_bytes(SIZE, seed="held")
    digest = Digest.parse(upstream.add_blob(data))
    upstream.faults.hold_at = SIZE // 2
    look = leader.store.blobs.open_any

    def look_and_let_it_end(wanted: Digest) -> OpenBlob | None:
        found = look(wanted)
        monkeypatch.undo()
        upstream.faults.gate.set()
        eventually(lambda: not leader.transfers.is_under_way(digest))
        return found

    with ThreadPoolExecutor() as pool:
        pull = pool.submit(leader.blob, digest)
        leader.wait_for_some(digest)
        monkeypatch.setattr(leader.store.blobs, "open_any", look_and_let_it_end)
        answer = leader.blobs.get_held(target_at(leader.registry, APP), digest)

        assert b"".join(chunks(answer.body, 0, SIZE)) == data
        assert pull.result() == data
    answer.body.close()
    assert upstream.bytes_sent(str(digest)) == SIZE
