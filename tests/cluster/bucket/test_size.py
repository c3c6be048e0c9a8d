"""How large the bucket grows: rules for the object store, and a cleanup by us."""

import json

from registry_cache.oci import object_keys
from registry_cache.oci.digest import Digest
from tests.harness.ceph import TestBucket
from tests.harness.fixture_types import MakeCache
from tests.harness.sharing import sharing


def test_the_object_store_takes_our_rules(bucket: TestBucket, make_cache: MakeCache) -> None:
    cache = make_cache(sharing(bucket.settings))

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
    cache = make_cache({**sharing(bucket.settings), "cluster": {"max_size": "2000B"}})

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
