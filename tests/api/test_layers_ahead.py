"""``layers_ahead``: an image's other layers are on their way once one was asked for. Off by default."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.harness.images import make_image
from tests.harness.pullers import Puller
from tests.harness.running import running_cache
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

AHEAD = {"proxy": {"layers_ahead": True}}


@pytest.fixture(scope="module")
def ahead(shared_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CacheServer]:
    """A cache of all these stories, each of which has an image of its own."""
    with running_cache(tmp_path_factory.mktemp("ahead"), shared_upstream, config=AHEAD) as server:
        yield server


def stored(root: Path, digests: Sequence[str]) -> bool:
    found = {path.name for path in (root / "blobs").rglob("*")}
    return {digest.partition(":")[2] for digest in digests} <= found


def test_one_layer_brings_the_others_and_each_once(upstream: FakeUpstream, ahead: CacheServer) -> None:
    image = make_image(upstream, tag="1", layers=6, seed=10)
    with Puller(ahead.url) as puller:
        assert puller.manifest("1").status == 200
        assert puller.blob(image.layers[2]).status == 200
        upstream.wait_until(lambda: all(upstream.gets(layer) == 1 for layer in image.layers))
        eventually(lambda: stored(ahead.root, image.layers))
        for layer in image.layers:
            assert puller.blob(layer).headers["X-Cache"] == "hit"
    assert [upstream.gets(layer) for layer in image.layers] == [1] * 6
    assert upstream.gets(image.config) == 0


def test_who_asks_meanwhile_reads_along(upstream: FakeUpstream, ahead: CacheServer) -> None:
    image = make_image(upstream, tag="1", layers=3, seed=20)
    upstream.faults.hold_at = 1000
    with Puller(ahead.url) as puller:
        assert puller.manifest("1").status == 200
        pulls = [puller.start_blob("library/app", image.layers[0])]
        upstream.wait_until(lambda: all(upstream.in_flight(layer) == 1 for layer in image.layers))
        pulls += [puller.start_blob("library/app", layer) for layer in image.layers[1:]]
        upstream.faults.gate.set()
        assert [pull.finish().digest for pull in pulls] == list(image.layers)
    assert [upstream.gets(layer) for layer in image.layers] == [1] * 3


def test_the_configuration_alone_brings_nothing(upstream: FakeUpstream, ahead: CacheServer) -> None:
    image = make_image(upstream, tag="1", layers=3, seed=30)
    other = make_image(upstream, tag="2", layers=1, seed=50)
    with Puller(ahead.url) as puller:
        assert puller.manifest("1").status == puller.blob(image.config).status == 200
        # An event behind which the layers would have been asked for.
        assert puller.manifest("2").status == puller.blob(other.layers[0]).status == 200
    assert [upstream.gets(layer) for layer in image.layers] == [0] * 3


def test_by_default_nobody_gets_what_was_not_asked_for(upstream: FakeUpstream, puller: Puller) -> None:
    image = make_image(upstream, tag="1", layers=3)
    assert puller.manifest("1").status == puller.blob(image.layers[0]).status == 200
    assert [upstream.gets(layer) for layer in image.layers] == [1, 0, 0]


def test_a_layer_that_fails_is_the_affair_of_who_asks_for_it(upstream: FakeUpstream, ahead: CacheServer) -> None:
    image = make_image(upstream, tag="1", layers=3, seed=40)
    upstream.faults.answer(f"GET .*{image.layers[1]}", 404, times=1)
    with Puller(ahead.url) as puller:
        assert puller.manifest("1").status == 200
        assert puller.blob(image.layers[0]).status == 200
        upstream.wait_until(lambda: len(upstream.requests("GET", image.layers[1])) == 1)
        eventually(lambda: stored(ahead.root, [image.layers[2]]))
        assert puller.blob(image.layers[1]).status == 200
