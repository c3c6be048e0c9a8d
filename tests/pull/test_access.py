"""Whether a repository may have what is here already: some of the bytes that its own upstream sends show it."""

from __future__ import annotations

import gzip

import pytest

from registry_cache.errors import UpstreamCorrupt, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.pull.access import Access
from registry_cache.pull.single_flight import MachineFlights
from tests.harness.images import random_bytes
from tests.harness.store_rig import APP, Store
from tests.harness.targets import target_at
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import connect

DATA = random_bytes(200_000, seed="shown")
DIGEST = Digest.of(DATA)


def prove(store: Store, upstream: FakeUpstream) -> None:
    upstream.add_blob(DATA)
    blob = store.blobs.open_any(store.put(DATA))
    assert blob is not None
    Access(target_at(connect(upstream.url), APP), DIGEST, MachineFlights(store.layout)).prove_bytes(blob)


def test_a_connection_that_breaks_once_says_nothing_of_the_bytes(store: Store, upstream: FakeUpstream) -> None:
    upstream.faults.answer("GET .*/blobs/", 503, times=1)
    prove(store, upstream)
    assert upstream.gets(str(DIGEST)) == 2
    upstream.faults.answer("GET .*/blobs/", 503)
    with pytest.raises(UpstreamUnavailable):
        prove(store, upstream)


@pytest.mark.parametrize("status", [400, 501])
def test_without_ranges_the_whole_shows_it(store: Store, upstream: FakeUpstream, status: int) -> None:
    upstream.faults.answer("GET .*/blobs/", status, times=1)
    prove(store, upstream)


def test_what_comes_encoded_shows_it_decoded_and_nothing_else_does(store: Store, upstream: FakeUpstream) -> None:
    upstream.faults.answer("GET .*/blobs/", 200, gzip.compress(DATA), times=1, Content_Encoding="gzip")
    prove(store, upstream)
    upstream.faults.answer("GET .*/blobs/", 200, gzip.compress(DATA[::-1]), None, Content_Encoding="gzip")
    with pytest.raises(UpstreamCorrupt, match="other bytes"):
        prove(store, upstream)
