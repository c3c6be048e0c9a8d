"""Three nodes over one Redis, in front of `upstream`, for this folder's stories; and a Redis for parts of nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.near_rig import NearNode, NearNodes, three_nodes
from tests.harness.redis_server import RedisServer
from tests.harness.shared_cache import shared_upstream, small_disk, upstream
from tests.harness.shared_cluster import cluster, whole_clusters
from tests.harness.upstream import FakeUpstream

__all__ = ["cluster", "shared_upstream", "small_disk", "upstream", "whole_clusters"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of a file's tests; those that need it empty make it so."""
    started = RedisServer(tmp_path_factory.mktemp("redis"))
    yield started
    started.stop()


@pytest.fixture
def empty_server(server: RedisServer) -> RedisServer:
    server.ask("FLUSHALL")
    # Long ago, so that nobody waits for leaders that may still put their leases back.
    server.ask("SET", "rc:1:epoch", "0")
    return server


@pytest.fixture
def near_nodes(tmp_path: Path, empty_server: RedisServer, upstream: FakeUpstream) -> Iterator[list[NearNode]]:
    """Three nodes in this process that have seen each other."""
    found = three_nodes(tmp_path, empty_server, upstream.url)
    yield found
    for node in found:
        node.close()


@pytest.fixture
def blind_nodes(near_nodes: list[NearNode]) -> NearNodes:
    """Three that see no Redis any more."""
    for node in near_nodes:
        node.redis.is_away = True
    return {node.name: node for node in near_nodes}
