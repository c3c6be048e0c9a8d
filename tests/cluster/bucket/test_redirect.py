"""Clients that are sent to the bucket for what a node lacks, where the operator has written that out."""

from tests.harness.ceph import TestBucket
from tests.harness.content import APP
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import KiB, random_bytes
from tests.harness.sharing import outcome, sharing, wait_until_sent
from tests.harness.upstream import FakeUpstream


def test_a_node_sends_clients_to_the_bucket_for_what_it_lacks(
    bucket: TestBucket, upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    data = random_bytes(100 * KiB, seed=9)
    blob, other = upstream.add_blob(data), upstream.add_blob(b"another", "team/other")
    config = sharing(bucket.settings, redirect={"disable": False})
    one = make_cache(config)
    full = make_puller(one.url)
    # The bucket has nothing yet.
    assert full.blob(blob).body == data
    wait_until_sent(one)
    two = make_cache(config)
    empty = make_puller(two.url)

    answer = empty.blob(blob)

    assert (answer.status, outcome(answer), answer.headers["Cache-Control"]) == (307, "near", "no-store")
    assert answer.headers["Docker-Content-Digest"] == blob
    url = answer.headers["Location"]
    assert url.startswith(f"{bucket.ceph.url}/{bucket.name}/")
    path, store = url.removeprefix(bucket.ceph.url), make_puller(bucket.ceph.url)
    assert store.get(path).body == data
    part = store.get(path, {"Range": "bytes=1000-1999"})
    assert (part.status, part.body) == (206, data[1000:2000])
    # Whoever has it is not sent away, and nobody for what the repository is not known to have.
    assert (full.blob(blob).status, outcome(full.blob(blob))) == (200, "hit")
    assert empty.blob(other, "team/other").status == 200
    assert empty.blob(blob, "team/other").status == 404
    assert "X-Amz" not in one.log_text() + two.log_text()


def test_without_a_word_every_byte_comes_from_here(
    bucket: TestBucket, upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    blob = upstream.add_blob(b"bytes")
    one = make_cache(sharing(bucket.settings))
    make_puller(one.url).blob(blob)
    wait_until_sent(one)

    for redirect in ({}, {"redirect": {"disable": True}}):
        cache = make_cache(sharing(bucket.settings, **redirect))
        answer = make_puller(cache.url).blob(blob, APP)
        assert (answer.status, outcome(answer), answer.body) == (200, "near", b"bytes")
