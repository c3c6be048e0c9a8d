"""Caches that share nothing but a bucket: what one has fetched the others have, too, even with the registry away."""

from registry_cache.oci import object_keys
from registry_cache.oci.digest import Digest
from tests.harness.ceph import READER, TestBucket
from tests.harness.content import APP
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import KiB, MiB, make_image, make_index, random_bytes
from tests.harness.sharing import outcome, pull_image, sharing, wait_until_sent
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually


def test_a_second_node_costs_the_registry_no_byte(
    bucket: TestBucket, upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    image = make_image(upstream, layer_size=2 * MiB)
    one, two = make_cache(sharing(bucket.settings)), make_cache(sharing(bucket.settings))

    first = pull_image(make_puller(one.url), image)
    wait_until_sent(one)
    second = pull_image(make_puller(two.url), image)

    assert (set(first), set(second)) == ({"miss"}, {"near"})
    assert [upstream.gets(digest) for digest in (image.digest, *image.blobs)] == [1, 1, 1, 1, 1]
    # The registry said for each node what the tag means, and neither what it holds nor whether it may be had.
    assert len(upstream.requests("HEAD")) == 2
    # What came from the bucket need not go there.
    wait_until_sent(two)
    assert set(pull_image(make_puller(two.url), image)) == {"revalidated", "hit"}


def test_an_emptied_node_serves_every_image_of_the_bucket_while_the_registry_is_down(
    bucket: TestBucket, upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    index = make_index(upstream, "library/many", "2", layer_size=100 * KiB)
    image = make_image(upstream, "library/one", "1", kind="docker", layer_size=1 * MiB, seed=5)
    one = make_cache(sharing(bucket.settings))
    full = make_puller(one.url)
    full.manifest("2", "library/many")
    for each in index.images:
        assert full.manifest(each.digest, each.repository).body == each.manifest
        for blob in each.blobs:
            full.blob(blob, each.repository)
    pull_image(full, image)
    wait_until_sent(one)
    upstream.stop()

    empty = make_puller(make_cache(sharing(bucket.settings)).url)

    assert pull_image(empty, image) == ["stale", "near", "near", "near", "near"]
    top = empty.manifest("2", "library/many")
    assert (top.status, outcome(top), top.headers["Docker-Content-Digest"]) == (200, "stale", index.digest)
    for each in index.images:
        assert empty.manifest(each.digest, each.repository).body == each.manifest
        for blob in each.blobs:
            got = empty.blob(blob, each.repository)
            assert (got.status, str(Digest.of(got.body))) == (200, blob)
    assert empty.head(f"/v2/library/one/blobs/{image.layers[0]}").status == 200
    assert empty.manifest("3", "library/one").status == 503


def test_a_blob_of_the_bucket_is_for_repositories_that_are_known_to_contain_it(
    bucket: TestBucket, upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    data = random_bytes(200 * KiB, seed=2)
    secret, shared = upstream.add_blob(data, "team/secret"), upstream.add_blob(b"shared", "team/secret")
    upstream.add_blob(b"shared", "team/open")
    one = make_cache(sharing(bucket.settings))
    full = make_puller(one.url)
    assert full.blob(secret, "team/secret").body == data
    assert full.blob(shared, "team/secret").body == b"shared"
    wait_until_sent(one)

    two = make_cache(sharing(bucket.settings))
    other = make_puller(two.url)

    assert other.blob(secret, "team/open").status == 404
    assert other.head(f"/v2/team/open/blobs/{secret}").status == 404
    assert other.blob(shared, "team/open").body == b"shared"
    assert outcome(other.blob(secret, "team/secret")) == "near"


def test_a_large_blob_is_sent_in_parts_and_a_range_of_it_comes_while_it_arrives(
    bucket: TestBucket, upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    data = random_bytes(17 * MiB, seed=3)
    blob = upstream.add_blob(data)
    small_parts = sharing({**bucket.settings, "chunksize": str(5 * MiB)})
    one = make_cache(small_parts)
    assert make_puller(one.url).start_blob(APP, blob).finish().digest == blob
    eventually(lambda: bucket.read(object_keys.blob(Digest.parse(blob))))
    wait_until_sent(one)

    two = make_puller(make_cache(small_parts).url)
    part = two.blob(blob, headers={"Range": f"bytes={16 * MiB}-"})

    assert (part.status, outcome(part), part.body) == (206, "near", data[16 * MiB :])
    assert bucket.read(object_keys.blob(Digest.parse(blob))) == data
    assert upstream.gets(blob) == 1


def test_403_for_what_is_not_there_means_that_it_is_not_there(
    bucket: TestBucket, upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    bucket.let_read_and_write_but_not_list(READER)
    settings = bucket.ceph.settings(bucket.name, READER)
    image = make_image(upstream)
    one, two = make_cache(sharing(settings)), make_cache(sharing(settings))

    assert set(pull_image(make_puller(one.url), image)) == {"miss"}
    wait_until_sent(one)
    assert set(pull_image(make_puller(two.url), image)) == {"near"}

    assert "the bucket is away" not in one.log_text() + two.log_text()
    assert bucket.forbids_to_see("nothing", READER)


def test_no_signature_is_logged(
    bucket: TestBucket, upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    image = make_image(upstream)
    one = make_cache({**sharing(bucket.settings), "log": {"level": "debug"}})
    pull_image(make_puller(one.url), image)
    wait_until_sent(one)
    bucket.ceph.kill_gateway()
    two = make_cache({**sharing(bucket.settings), "log": {"level": "debug"}})
    pull_image(make_puller(two.url), image)
    bucket.ceph.start_gateway()
    wait_until_sent(two)

    logs = one.log_text() + two.log_text()
    assert "the bucket is away" in logs
    assert "X-Amz" not in logs
    assert bucket.settings["secretkey"] not in logs
