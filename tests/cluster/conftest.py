"""Three nodes over one Redis, in front of `upstream`, for the stories of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.cluster_rig import Cluster
from tests.harness.shared_cache import small_disk
from tests.harness.upstream import FakeUpstream

__all__ = ["small_disk"]


@pytest.fixture
def cluster(upstream: FakeUpstream, tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes that have started, each with two workers and a store of its own."""
    started = Cluster(tmp_path / "cluster", upstream.url)
    started.wait_until_ready()
    yield started
    upstream.faults.release()
    started.stop()
