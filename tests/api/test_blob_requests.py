"""A large layer from an upstream that limits each connection: by several requests at once, and never a byte twice."""

from __future__ import annotations

import re

import pytest

from tests.harness.fixture_types import MakeCache
from tests.harness.images import Image, MiB, make_image
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream

SIZE = 20 * MiB


@pytest.fixture
def image(upstream: FakeUpstream) -> Image:
    upstream.faults.rate = 5 * MiB
    return make_image(upstream, tag="1", layers=1, layer_size=SIZE)


def pull(url: str, image: Image) -> None:
    with Puller(url) as puller:
        assert puller.manifest("1").status == 200
        (layer,) = image.layers
        clients = [puller.start_blob("library/app", layer) for _ in range(3)]
        assert [client.finish().digest for client in clients] == [layer] * 3


def spans(upstream: FakeUpstream, layer: str) -> list[tuple[int, int]]:
    """First and last byte of every answer, in order."""
    asked = [exchange.headers.get("Range") or "" for exchange in upstream.requests("GET", layer)]
    found = [re.fullmatch(r"bytes=(\d+)-(\d*)", each) for each in asked]
    return sorted((int(each[1]), int(each[2] or SIZE - 1)) if each else (0, SIZE - 1) for each in found)


def test_every_byte_comes_once_by_more_than_one_connection(
    upstream: FakeUpstream, cache: CacheServer, image: Image
) -> None:
    (layer,) = image.layers
    pull(cache.url, image)
    size = upstream.bytes_sent(layer)
    assert size == len(upstream.blob("library/app", layer) or b"")
    assert 1 < upstream.peak_in_flight(layer) <= 4
    # Each begins behind the one before it, none overlaps.
    ends = [0, *(last + 1 for _, last in spans(upstream, layer))]
    assert [first for first, _ in spans(upstream, layer)] == ends[:-1]


def test_it_can_be_switched_off(upstream: FakeUpstream, make_cache: MakeCache, image: Image) -> None:
    (layer,) = image.layers
    pull(make_cache({"proxy": {"blob_requests": 1}}).url, image)
    assert upstream.gets(layer) == 1
    assert upstream.requests("GET", layer)[0].headers.get("Range") is None


def test_cuts_of_every_request_cost_no_byte_and_no_client(
    upstream: FakeUpstream, make_cache: MakeCache, image: Image
) -> None:
    (layer,) = image.layers
    upstream.faults.cut_after = [1 * MiB, 2 * MiB, 3 * MiB]
    pull(make_cache().url, image)
    assert upstream.bytes_sent(layer) == len(upstream.blob("library/app", layer) or b"")
