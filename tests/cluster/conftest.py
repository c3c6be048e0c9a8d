"""Three nodes over one Redis, in front of `upstream`, for this folder's stories; and a Redis for parts of nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.near_rig import NearNodes, three_nodes
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
def blind_nodes(tmp_path: Path, server: RedisServer, upstream: FakeUpstream) -> Iterator[NearNodes]:
    """Three nodes in this process that have seen each other, and no Redis since."""
    server.ask("FLUSHALL")
    found = three_nodes(tmp_path, server, upstream.url)
    for node in found:
        node.redis.is_away = True
    yield {node.name: node for node in found}
    for node in found:
        node.close()
