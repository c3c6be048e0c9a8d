"""One cluster for the tests of a folder: three nodes take longer to start than most tests take.

Each test gets it with empty stores. One that killed, stopped or misled something leaves none: the next one starts anew.
"""

import re
from collections.abc import Iterator

import pytest

from tests.harness import shared_cache
from tests.harness.cluster_rig import Cluster
from tests.harness.upstream import FakeUpstream

# Log lines of what the nodes remember for a while.
FAILURES = re.compile(shared_cache.FAILURES.pattern + "|Redis is away|another node has our name")


@pytest.fixture(scope="package")
def whole_clusters(shared_upstream: FakeUpstream) -> Iterator[list[Cluster]]:
    """The cluster that the last test left as it found it, if it did."""
    kept: list[Cluster] = []
    yield kept
    for each in kept:
        each.stop()


@pytest.fixture
def cluster(
    upstream: FakeUpstream, whole_clusters: list[Cluster], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Three nodes that have started, each with two workers and an empty store of its own."""
    if whole_clusters:
        lent = whole_clusters.pop()
    else:
        lent = Cluster(tmp_path_factory.mktemp("cluster"), upstream.url)
        lent.wait_until_ready()
    before, told = lent.processes(), [len(node.log_text()) for node in lent.nodes]
    yield lent
    upstream.faults.release()
    news = "".join(node.log_text()[length:] for node, length in zip(lent.nodes, told, strict=True))
    if lent.is_spoiled or lent.processes() != before or FAILURES.search(news):
        lent.stop()
        return
    lent.empty()
    whole_clusters.append(lent)
