"""Ranges that three nodes are asked for: each byte crosses the line once, whoever fetches it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from tests.harness.cluster_rig import Cluster
from tests.harness.pullers import Answer
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

pytestmark = pytest.mark.needs_root

MiB = 1024 * 1024
PIECE = 8 * 1024
DATA = Random("ranges of nodes").randbytes(16 * MiB)


@pytest.fixture(autouse=True)
def acquainted(cluster: Cluster) -> None:
    """Every node has said that it is there: until then each may take another for the one to ask."""
    eventually(lambda: cluster.redis.ask("SCARD", "rc:1:nodes").strip() == b":3")


def everywhere(cluster: Cluster, blob: str, asked: str, clients: int = 4) -> list[Answer]:
    pullers = cluster.pullers * clients
    with ThreadPoolExecutor(len(pullers)) as pool:
        return list(pool.map(lambda puller: puller.blob(blob, headers={"Range": f"bytes={asked}"}), pullers))


def test_clients_of_all_nodes_cost_a_range_once(cluster: Cluster, upstream: FakeUpstream) -> None:
    blob = upstream.add_blob(DATA)
    for asked, start, stop in (("-47", len(DATA) - 47, len(DATA)), ("8388608-9437183", 8 * MiB, 9 * MiB)):
        answers = everywhere(cluster, blob, asked)
        assert {(answer.status, answer.body == DATA[start:stop]) for answer in answers} == {(206, True)}
    assert upstream.bytes_sent(blob) == PIECE + MiB


def test_a_range_goes_to_the_node_that_downloads_the_whole(cluster: Cluster, upstream: FakeUpstream) -> None:
    blob = upstream.add_blob(DATA)
    first = cluster.pullers[0]
    upstream.faults.hold_at = 2 * MiB
    whole = first.start_blob("library/app", blob)
    whole.wait_for(2 * MiB - 256 * 1024)
    answers = everywhere(cluster, blob, "-47")
    assert {(answer.status, answer.body) for answer in answers} == {(206, DATA[-47:])}
    assert [each.headers["Range"] for each in upstream.asked("GET", blob)] == [
        None,
        f"bytes={len(DATA) - PIECE}-{len(DATA) - 1}",
    ]
    upstream.faults.gate.set()
    assert whole.finish().digest == blob


def test_a_range_of_what_another_node_has_comes_from_there(cluster: Cluster, upstream: FakeUpstream) -> None:
    blob = upstream.add_blob(DATA)
    assert cluster.pullers[0].blob(blob).body == DATA
    answers = everywhere(cluster, blob, "1000-1999")
    assert {(answer.status, answer.body) for answer in answers} == {(206, DATA[1000:2000])}
    assert upstream.bytes_sent(blob) == len(DATA)


def test_a_node_that_stands_still_is_done_without(cluster: Cluster, upstream: FakeUpstream) -> None:
    blobs = [upstream.add_blob(DATA[number:]) for number in range(4)]
    cluster.nodes[2].stand_still()
    for number, blob in enumerate(blobs):
        for puller in cluster.pullers[:2]:
            answer = puller.blob(blob, headers={"Range": "bytes=-47"})
            assert (answer.status, answer.body, number) == (206, DATA[-47:], number)


def test_a_repository_that_upstream_refuses_gets_nothing_from_another_node(
    cluster: Cluster, upstream: FakeUpstream
) -> None:
    blob = upstream.add_blob(DATA)
    everywhere(cluster, blob, "-47", clients=1)
    for puller in cluster.pullers:
        assert puller.blob(blob, "library/other", {"Range": "bytes=-47"}).status == 404
