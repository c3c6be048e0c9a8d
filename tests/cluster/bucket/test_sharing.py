"""Caches that share a bucket: what one has fetched the others have, too, even with the registry away."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from registry_cache.oci import object_keys
from registry_cache.oci.digest import Digest
from tests.harness.ceph import READER, TestBucket
from tests.harness.cluster_rig import Cluster
from tests.harness.content import APP
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import KiB, MiB, make_image, make_index, random_bytes
from tests.harness.ports import free_ports
from tests.harness.server import CacheServer
from tests.harness.sharing import outcome, pull_image, sharing, wait_until_sent
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

# As a mirror's of registry:2 that keeps its content in a bucket and descriptors in Redis.
DISTRIBUTION = """
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: redis
  redirect:
    disable: true
  delete:
    enabled: true
  s3:
    accesskey: {accesskey}
    secretkey: {secretkey}
    region: us-east-1
    regionendpoint: {regionendpoint}
    bucket: {bucket}
    encrypt: false
    secure: false
    v4auth: true
    chunksize: 5242880
    rootdirectory: /registry
redis:
  addr: 127.0.0.1:1
  password: asecret
  db: 0
  dialtimeout: 10ms
  readtimeout: 10ms
  writetimeout: 10ms
  pool:
    maxidle: 16
    maxactive: 64
    idletimeout: 300s
http:
  secret: asecretforlocaldevelopment
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""


def make_cluster(folder: Path, upstream: FakeUpstream, bucket: TestBucket) -> Cluster:
    return Cluster(folder, upstream.url, config=sharing(bucket.settings), workers=1)


def steps(cache: CacheServer) -> dict[str, dict[str, Any]]:
    report = json.loads(cache.run("check", "--json").stdout)
    return {step["step"]: step for step in report["bucket"]["steps"]}


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


def test_a_herd_costs_one_download_and_one_object(bucket: TestBucket, upstream: FakeUpstream, tmp_path: Path) -> None:
    blob = upstream.add_blob(Random(1).randbytes(8 * MiB))
    cluster = make_cluster(tmp_path, upstream, bucket)
    try:
        cluster.wait_until_ready()
        pulls = [puller.start_blob(APP, blob) for puller in cluster.pullers for _ in range(10)]
        assert [pull.finish().digest for pull in pulls] == [blob] * 30
        assert upstream.bytes_sent(blob) == 8 * MiB
        for node in cluster.nodes:
            wait_until_sent(node)
    finally:
        cluster.stop()


def test_emptied_nodes_serve_an_image_from_the_bucket_while_the_registry_is_down(
    bucket: TestBucket, upstream: FakeUpstream, tmp_path: Path
) -> None:
    image = make_image(upstream, tag="1", layer_size=1 * MiB)
    first = make_cluster(tmp_path / "first", upstream, bucket)
    try:
        first.wait_until_ready()
        assert first.pullers[0].manifest("1").status == 200
        assert [first.pullers[1].blob(digest).status for digest in image.blobs] == [200] * len(image.blobs)
        for node in first.nodes:
            wait_until_sent(node)
    finally:
        first.stop()
    upstream.stop()

    second = make_cluster(tmp_path / "second", upstream, bucket)
    try:
        second.wait_until_ready()
        for puller in second.pullers:
            assert puller.manifest("1").body == image.manifest
            answers = [puller.blob(digest) for digest in image.blobs]
            assert {(answer.status, outcome(answer)) for answer in answers} <= {(200, "near"), (200, "join")}
    finally:
        second.stop()


def test_the_object_store_takes_our_rules(bucket: TestBucket, make_cache: MakeCache) -> None:
    cache = make_cache(sharing(bucket.settings), started=False)

    printed = cache.run("bucket", "lifecycle", "--days", "30").stdout
    bucket.client.put_bucket_lifecycle_configuration(Bucket=bucket.name, LifecycleConfiguration=json.loads(printed))

    rules = bucket.client.get_bucket_lifecycle_configuration(Bucket=bucket.name)["Rules"]
    assert {rule["ID"] for rule in rules} == {"registry-cache-unfinished", "registry-cache-unused"}
    assert cache.run("bucket", "lifecycle", "--days", "1").returncode == 2


def test_a_cleanup_looks_at_the_whole_bucket_and_leaves_what_is_young(
    bucket: TestBucket, make_cache: MakeCache
) -> None:
    keys = [object_keys.blob(Digest.of(bytes([number]))) for number in range(3)]
    for key in keys:
        bucket.write(key, bytes(1000))
    cache = make_cache({**sharing(bucket.settings), "cluster": {"max_size": "2000B"}}, started=False)

    done = cache.run("cleanup", "--shared", "--json")

    assert json.loads(done.stdout) == {
        "version": 1,
        "dry_run": False,
        "stored_bytes": 3000,
        "max_size": 2000,
        "evicted_blobs": 0,
        "evicted_bytes": 0,
        "over_bytes": 1000,
    }
    assert done.returncode == 3
    assert sorted(bucket.all_keys()) == sorted(keys)


def test_a_good_bucket_is_all_ok_and_left_empty(bucket: TestBucket, make_cache: MakeCache) -> None:
    cache = make_cache(sharing(bucket.settings), started=False)

    assert {name: step["state"] for name, step in steps(cache).items()} == dict.fromkeys(
        ["write", "condition", "signed URL", "absence", "delete"], "ok"
    )
    assert bucket.all_keys() == []


@pytest.mark.parametrize(
    ("change", "reason", "remedy"),
    [
        ({"secretkey": "another"}, "SignatureDoesNotMatch", "check storage.s3.accesskey and secretkey"),
        ({"accesskey": "nobody"}, "InvalidAccessKeyId", "check storage.s3.accesskey and secretkey"),
        ({"bucket": "no-such-bucket"}, "NoSuchBucket", "registry-cache bucket create"),
        ({"regionendpoint": "http://127.0.0.1:1"}, "EndpointConnectionError", "check storage.s3.regionendpoint"),
        ({"accesskey": READER[0], "secretkey": READER[1]}, "AccessDenied", "s3:PutObject"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(
    bucket: TestBucket, make_cache: MakeCache, change: dict[str, str], reason: str, remedy: str
) -> None:
    cache = make_cache(sharing({**bucket.settings, **change}), started=False)

    [step] = steps(cache).values()

    assert (step["step"], step["state"]) == ("write", "failed")
    assert reason in step["message"]
    assert remedy in step["remedy"]


def test_the_bucket_can_be_made_by_a_command(bucket: TestBucket, make_cache: MakeCache) -> None:
    cache = make_cache(sharing({**bucket.settings, "bucket": f"{bucket.name}-new"}), started=False)

    made, again = (cache.run("bucket", "create").stdout for _ in range(2))

    assert made == again == f"the bucket {bucket.name}-new is there: {bucket.ceph.url}/{bucket.name}-new/\n"
    assert {step["state"] for step in steps(cache).values()} == {"ok"}


def test_a_configuration_of_registry_2_starts_serves_and_shares(
    bucket: TestBucket, upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    config = yaml.safe_load(DISTRIBUTION.format(**bucket.settings))
    # Two nodes of one machine cannot both have port 5050 for other nodes.
    mine, other = ({**config, "cluster": {"addr": f"127.0.0.1:{port}"}} for port in free_ports(2))
    image = make_image(upstream)
    one = make_cache(mine)

    pull_image(make_puller(one.url), image)
    wait_until_sent(one)

    assert set(pull_image(make_puller(make_cache(other).url), image)) == {"near"}
    assert one.log_text().count("understood but without effect here") == 1
    assert {name: step["state"] for name, step in steps(one).items() if name != "rate limit"} == dict.fromkeys(
        ["write", "condition", "signed URL", "absence", "delete"], "ok"
    )
