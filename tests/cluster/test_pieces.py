"""A blob of which one node has pieces, and which another is then asked for: what is here crosses no line again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from registry_cache.errors import BlobUnknown
from registry_cache.oci.digest import Digest
from registry_cache.pull.cluster.pieces import NearPieces
from registry_cache.store.piece_file import PIECE_SIZE
from tests.harness.images import KiB, MiB, random_bytes
from tests.harness.near_rig import NearNode
from tests.harness.upstream import FakeUpstream

pytestmark = pytest.mark.once

DATA = random_bytes(2 * MiB + 77, seed="pieces of nodes")
SIZE = len(DATA)
DIGEST = Digest.of(DATA)
PARTS = ((SIZE - 47, SIZE), (MiB, MiB + 128 * KiB), (300 * KiB, 300 * KiB + PIECE_SIZE))


def read_parts(nodes: list[NearNode]) -> None:
    """Let each node ask for another part."""
    for node, (start, stop) in zip(nodes, PARTS, strict=True):
        assert node.part(DIGEST, start, stop) == DATA[start:stop]


def holder(nodes: list[NearNode]) -> NearNode:
    """The node that has fetched the parts for all."""
    [found] = {each for node in nodes if (each := node.cluster.pieces.holder("docker.io", DIGEST))}
    return next(node for node in nodes if node.name == found.node)


def test_a_whole_begins_with_the_pieces_of_another_node(near_nodes: list[NearNode], upstream: FakeUpstream) -> None:
    upstream.add_blob(DATA)
    read_parts(near_nodes)
    others = [node for node in near_nodes if node is not holder(near_nodes)]

    # Two at once, of which each may be the first.
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda node: node.blob(DIGEST), others * 2)) == {DATA}

    assert holder(near_nodes).blob(DIGEST) == DATA
    assert upstream.bytes_sent(str(DIGEST)) == SIZE


def test_without_the_node_that_has_pieces_the_registry_is_asked(
    near_nodes: list[NearNode], upstream: FakeUpstream
) -> None:
    upstream.add_blob(DATA)
    read_parts(near_nodes)
    gone = holder(near_nodes)
    gone.is_lost = True
    others = [node for node in near_nodes if node is not gone]
    before = upstream.bytes_sent(str(DIGEST))

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(lambda node: node.blob(DIGEST), others)) == {DATA}

    assert upstream.bytes_sent(str(DIGEST)) - before <= SIZE


def test_what_upstream_refuses_another_repository_is_not_had_by_pieces(
    near_nodes: list[NearNode], upstream: FakeUpstream
) -> None:
    upstream.add_blob(DATA)
    read_parts(near_nodes)
    upstream.faults.answer(f"GET .*{DIGEST}", 404, b"", 10)
    [first, *_] = [node for node in near_nodes if node is not holder(near_nodes)]
    with pytest.raises(BlobUnknown):
        first.blob(DIGEST)


@pytest.mark.parametrize("seconds", [-25 * 3600, 3600])
def test_what_was_said_long_ago_or_of_the_future_is_nothing(near_nodes: list[NearNode], seconds: float) -> None:
    """A stranger has put it back into Redis."""
    [one, two, _] = near_nodes
    says = NearPieces(one.cluster.pieces._notes, "one", "one", lambda: one.now().timestamp() + seconds)
    says.announce("docker.io", DIGEST)
    assert two.cluster.pieces.holder("docker.io", DIGEST) is None
    one.cluster.pieces.announce("docker.io", DIGEST)
    assert two.cluster.pieces.holder("docker.io", DIGEST) is not None
    assert one.cluster.pieces.holder("docker.io", DIGEST) is None, "its own"
    assert two.cluster.pieces.holder("ghcr.io", DIGEST) is None
