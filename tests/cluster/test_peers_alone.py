"""Nodes that know each other by `cluster.peers`, and no Redis: they share all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.harness.cluster_rig import SECRET
from tests.harness.images import make_image, random_bytes
from tests.harness.ports import free_ports
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream

pytestmark = pytest.mark.once

SIZE = 2 * 1024 * 1024


@pytest.fixture
def caches(tmp_path: Path, upstream: FakeUpstream) -> Iterator[list[CacheServer]]:
    ports = free_ports(2)
    peers = [f"http://127.0.0.1:{port}" for port in ports]
    with ExitStack() as stack:
        found = []
        for number, port in enumerate(ports):
            cluster = {"addr": f"127.0.0.1:{port}", "node": f"node{number}", "peers": peers}
            config = {"http": {"secret": SECRET}, "cluster": cluster}
            found.append(CacheServer(tmp_path / f"node{number}", upstream.url, config=config))
            stack.callback(found[-1].close)
            stack.callback(found[-1].stop)
        # One that still loads does not answer the other in time.
        for cache in found:
            with closing(Puller(cache.url)) as puller:
                assert puller.get("/v2/").status == 200
        yield found


def test_a_blob_and_an_image_are_fetched_once(caches: list[CacheServer], upstream: FakeUpstream) -> None:
    blob = upstream.add_blob(random_bytes(SIZE, seed=1))
    image = make_image(upstream, tag="1")
    with ExitStack() as stack:
        pullers = [stack.enter_context(Puller(cache.url)) for cache in caches]
        pulls = [puller.start_blob("library/app", blob) for puller in pullers for _ in range(3)]
        assert [pull.finish().digest for pull in pulls] == [blob] * 6
        answers = [puller.manifest("1") for puller in pullers]
    assert upstream.bytes_sent(blob) == SIZE
    assert {answer.headers["Docker-Content-Digest"] for answer in answers} == {image.digest}
    assert upstream.counted_pulls == 1

    done = caches[0].run("check")
    assert "cluster (without Redis)" in done.stdout
    assert "ok      peers: we reach http://127.0.0.1:" in done.stdout
    assert "does not name" not in done.stdout
    assert "there is no Redis to ask" in caches[0].run("status", "--cluster").stderr
