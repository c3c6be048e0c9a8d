"""Three nodes over one Redis, in front of `upstream`, for this folder's stories; and a Redis for parts of nodes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.redis_server import RedisServer
from tests.harness.shared_cache import shared_upstream, small_disk, upstream
from tests.harness.shared_cluster import cluster, whole_clusters

__all__ = ["cluster", "shared_upstream", "small_disk", "upstream", "whole_clusters"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of a file's tests; those that need it empty make it so."""
    started = RedisServer(tmp_path_factory.mktemp("redis"))
    yield started
    started.stop()
