"""Tags and manifests that clients of three nodes want at once: one question and one counted pull for the cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPException
from typing import TypeVar

import pytest

from tests.harness.cluster_rig import Cluster
from tests.harness.content import APP
from tests.harness.images import make_artifact, make_image
from tests.harness.pullers import Answer, Puller
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually
from tests.harness.workers import Workers

# See test_downloads.py.
pytestmark = pytest.mark.needs_root

T = TypeVar("T")


def pool_of_one(work: Callable[[], T]) -> Future[T]:
    """Do ``work`` in a thread of its own."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future


def at_once(cluster: Cluster, clients: int, ask: Callable[[Puller], Answer]) -> list[Answer]:
    """What each of so many clients a node gets; they ask at the same time."""
    pullers = cluster.pullers * clients
    with ThreadPoolExecutor(len(pullers)) as pool:
        return list(pool.map(ask, pullers))


def held(cluster: Cluster, upstream: FakeUpstream, path: str, question: str, method: str = "GET") -> list[Answer]:
    """What ten clients of each node get. Upstream's answer to the `question` is held until all of them have asked.

    Who asks later asks anew, and rightly so.
    """
    upstream.hang_up()
    upstream.faults.hold_before = question
    upstream.faults.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cluster.redis.wait_for_clients, 2, b"rc:1:note:")
        requests = []
        for node in cluster.nodes:
            workers = Workers(node)
            for worker in (workers.first, workers.second):
                requests += workers.send(worker, path, method=method, count=5)
        waiting.result(60)
        upstream.faults.gate.set()
        return [request.answer() for request in requests]


def tag_held(cluster: Cluster, upstream: FakeUpstream) -> list[Answer]:
    return held(cluster, upstream, f"/v2/{APP}/manifests/1", "HEAD .*/manifests/1")


def test_a_tag_that_thirty_clients_want_costs_one_head_and_one_get(cluster: Cluster, upstream: FakeUpstream) -> None:
    image = make_image(upstream, tag="1")

    answers = tag_held(cluster, upstream)

    assert [answer.headers["Docker-Content-Digest"] for answer in answers] == [image.digest] * 30
    assert len(upstream.requests("HEAD", "/manifests/1")) == 1
    assert upstream.counted_pulls == 1

    # What every node shared, every node serves at an outage.
    upstream.stop()
    answers = at_once(cluster, 1, lambda puller: puller.manifest("1"))
    assert [(answer.headers["X-Cache"], answer.headers["Docker-Content-Digest"]) for answer in answers] == [
        ("stale", image.digest)
    ] * 3
    upstream.start()


def test_a_known_tag_costs_one_head(cluster: Cluster, upstream: FakeUpstream) -> None:
    make_image(upstream, tag="1")
    at_once(cluster, 1, lambda puller: puller.manifest("1"))
    upstream.forget()

    answers = tag_held(cluster, upstream)

    assert {answer.headers["X-Cache"] for answer in answers} == {"revalidated"}
    assert len(upstream.requests("HEAD", "/manifests/1")) == 1
    assert upstream.counted_pulls == 0


def test_referrers_and_the_size_of_a_blob_are_asked_for_once(cluster: Cluster, upstream: FakeUpstream) -> None:
    image = make_image(upstream, tag="1")
    artifact = make_artifact(upstream, subject=image.digest)
    layer = image.layers[0]
    path = f"/v2/{APP}/referrers/{image.digest}"

    listed = held(cluster, upstream, path, "GET .*/referrers/")
    sized = held(cluster, upstream, f"/v2/{APP}/blobs/{layer}", "HEAD .*/blobs/", method="HEAD")

    assert [[each["digest"] for each in json.loads(answer.body)["manifests"]] for answer in listed] == [[artifact]] * 30
    assert len(upstream.requests("GET", "/referrers/")) == 1
    size = str(len(upstream.blob(APP, layer) or b""))
    assert [(answer.status, answer.headers["Content-Length"]) for answer in sized] == [(200, size)] * 30
    assert len(upstream.requests("HEAD", f"/blobs/{layer}")) == 1

    # Here, too, every node serves at an outage what every node shared.
    upstream.stop()
    answers = at_once(cluster, 1, lambda puller: puller.get(path))
    assert [answer.headers["X-Cache"] for answer in answers] == ["stale"] * 3
    upstream.start()


def test_a_manifest_by_digest_is_fetched_from_the_node_that_has_it(cluster: Cluster, upstream: FakeUpstream) -> None:
    digest = make_image(upstream, tag="1").digest
    first, *others = cluster.pullers
    assert first.manifest(digest).status == 200

    assert {puller.manifest(digest).headers["Docker-Content-Digest"] for puller in others} == {digest}
    assert upstream.counted_pulls == 1
    # Not for another repository: the peer knows this one's alone.
    assert others[0].manifest(digest, "library/other").status == 404


def test_an_asking_node_that_dies_is_waited_for_no_longer_than_a_moment(
    cluster: Cluster, upstream: FakeUpstream
) -> None:
    image = make_image(upstream, tag="1")
    upstream.faults.hold_before = "HEAD .*/manifests/1"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cluster.redis.wait_for_clients, 1, b"rc:1:note:")
        lost = pool_of_one(lambda: cluster.pullers[0].manifest("1"))
        upstream.wait_until(lambda: upstream.requests("HEAD", "/manifests/1"))
        asking = pool_of_one(lambda: cluster.pullers[1].manifest("1"))
        waiting.result(60)
    cluster.nodes[0].lose_power()
    upstream.wait_until(lambda: len(upstream.requests("HEAD", "/manifests/1")) == 2)
    upstream.faults.gate.set()

    assert asking.result(60).headers["Docker-Content-Digest"] == image.digest
    assert isinstance(lost.exception(60), OSError | HTTPException)


def test_a_limit_that_one_node_met_stops_the_others(cluster: Cluster, upstream: FakeUpstream) -> None:
    """The registry counts all of them for one address."""
    first, second = (make_image(upstream, tag=tag, seed=seed) for seed, tag in enumerate(("1", "2")))
    make_image(upstream, tag="3", seed=7)
    upstream.faults.rate_limit = 1
    one, two, _ = cluster.pullers
    assert one.manifest("1").headers["Docker-Content-Digest"] == first.digest
    # By its HEAD the second node learns for whom it is counted.
    assert two.head(f"/v2/{APP}/manifests/3").status == 200
    assert one.manifest("2").status in (429, 503)

    def knows() -> bool:
        # Once a second it looks what the others have met, when it asks for something that is free.
        two.head(f"/v2/{APP}/manifests/3")
        status = json.loads(cluster.nodes[1].run("status", "--json").stdout)
        return bool(status["upstreams"][0]["state"] == "limited")

    eventually(knows)
    upstream.forget()
    assert two.manifest(second.digest).status in (429, 503)
    assert upstream.requests("GET") == []
