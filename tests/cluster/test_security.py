"""Who may ask a node by the port for nodes, and what a node with another secret or our own name can do."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest

from registry_cache.runtime.peer_question import SharedQuestion, answer_name
from registry_cache.runtime.seals import HEADER, AskedOfPeer, Seals
from tests.harness.cluster_rig import SECRET, Cluster, Node
from tests.harness.content import APP
from tests.harness.images import MiB
from tests.harness.pullers import Answer, Puller
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually


def ask(node: Node, path: str, *, method: str = "GET", name: str = "node9", secret: str = SECRET) -> Answer:
    """Ask by the port for nodes, as a node called `name` that knows `secret`."""
    signature = Seals(secret).sign(AskedOfPeer(method, path, "", name), time.time())
    with Puller(f"http://127.0.0.1:{node.peers_port}") as peer:
        return peer.request(method, path, {HEADER: signature})


def test_the_port_for_nodes(cluster: Cluster, upstream: FakeUpstream) -> None:
    node, path = cluster.nodes[0], f"/v2/{APP}/blobs/{upstream.add_blob(b'bytes')}"
    with Puller(f"http://127.0.0.1:{node.peers_port}") as stranger:
        assert {stranger.get(each).status for each in (path, "/v2/", "/metrics", "/readyz", "/")} == {403}

    assert ask(node, path, secret="another").status == 403
    assert ask(node, path, name="node1").status == 508
    assert ask(node, path, method="PUT").status == 405
    assert ask(node, f"/v2/{APP}/manifests/1").status == 410
    assert ask(node, f"/v2/{APP}/tags/list").status == 404
    assert ask(node, "/cluster/answers/secret/library/app/1").status == 410
    # It brings nothing for another node; what it has, it gives.
    assert ask(node, path).status == 410
    assert upstream.gets(path.rpartition("/")[2]) == 0
    assert cluster.pullers[0].get(path).body == b"bytes"
    assert ask(node, path).body == b"bytes"


def test_an_answer_for_another_node_is_sealed_for_one_request(cluster: Cluster, upstream: FakeUpstream) -> None:
    digest = upstream.add_manifest(b'{"schemaVersion": 2}', tag="1")
    targets = [SharedQuestion("tag", urlsplit(upstream.url).netloc, APP, "1").target(nonce) for nonce in ("a", "b")]
    answers = [ask(cluster.nodes[0], target).body for target in targets]

    seals = Seals(SECRET)
    found = seals.open(answer_name(targets[0]), answers[0])
    assert found
    assert found["record"]["digest"] == digest
    assert seals.open(answer_name(targets[0]), answers[1]) is None
    assert cluster.pullers[0].get(targets[0]).status == 404


def test_a_signature_on_the_port_for_clients_opens_nothing(cluster: Cluster, upstream: FakeUpstream) -> None:
    blob = upstream.add_blob(b"bytes")
    path = f"/v2/{APP}/blobs/{blob}"
    signature = Seals(SECRET).sign(AskedOfPeer("GET", path, "", "node1"), time.time())

    assert cluster.pullers[0].get(path, {HEADER: signature}).headers["X-Cache"] == "miss"


def test_a_peer_proves_access_as_for_a_client(cluster: Cluster, upstream: FakeUpstream) -> None:
    blob = upstream.add_blob(b"bytes" * 20_000)
    assert cluster.pullers[0].blob(blob).status == 200

    assert cluster.pullers[1].blob(blob, "library/other").status == 404
    assert cluster.pullers[1].blob(blob).headers["X-Cache"] == "near"


def test_a_node_with_another_secret_shares_nothing_and_harms_nobody(
    cluster: Cluster, upstream: FakeUpstream, tmp_path: Path
) -> None:
    blob = upstream.add_blob(b"bytes" * 20_000)
    cluster.has_strangers = True
    secret = {"http": {"secret": "other"}}
    stranger = Node("node1", tmp_path / "stranger", upstream.url, cluster.redis, config=secret, workers=1)
    try:
        with Puller(stranger.url) as puller:
            assert puller.blob(blob).headers["X-Cache"] == "miss"
        answers = [each.blob(blob) for each in cluster.pullers]
    finally:
        stranger.stop()

    assert [answer.headers["X-Cache"] for answer in answers] == ["miss", "near", "near"]
    assert upstream.gets(blob) == 2


def test_two_nodes_of_one_name_are_told_so(cluster: Cluster, upstream: FakeUpstream, tmp_path: Path) -> None:
    cluster.has_strangers = True
    namesake = Node("node1", tmp_path / "namesake", upstream.url, cluster.redis)
    try:
        eventually(lambda: "another node has our name" in namesake.log_text() + cluster.nodes[0].log_text())
        # The second takes the lease, and the first goes on alone: they do not take it in turns, a request each second.
        upstream.faults.rate = 2 * MiB
        blob = upstream.add_blob(Random(30).randbytes(6 * MiB))
        with Puller(namesake.url) as puller:
            pulls = [each.start_blob(APP, blob) for each in (cluster.pullers[0], puller)]
            assert [pull.finish().digest for pull in pulls] == [blob] * 2
        assert upstream.gets(blob) <= 3
    finally:
        namesake.stop()


@pytest.mark.parametrize("port", [0, 1])
def test_garbage_in_redis_is_not_there(cluster: Cluster, upstream: FakeUpstream, port: int) -> None:
    blob = upstream.add_blob(bytes([port]) * 100_000)
    lie = f'{{"node":"node{port}","url":"http://127.0.0.1:{port}","id":"1","upstream":"x","repository":"y"}}'
    for key in ("lead", "have"):
        cluster.redis.ask("SET", f"rc:1:{key}:{blob}", "0" * 64 + lie)

    answers = [puller.blob(blob) for puller in cluster.pullers]

    assert [answer.headers["X-Cache"] for answer in answers] == ["miss", "near", "near"]
    assert upstream.gets(blob) == 1
