"""`registry-cache check` of a bucket, and a configuration of registry:2 that has one."""

import json
from typing import Any

import pytest
import yaml

from tests.harness.ceph import READER, TestBucket
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import make_image
from tests.harness.ports import free_ports
from tests.harness.server import CacheServer
from tests.harness.sharing import pull_image, sharing, wait_until_sent
from tests.harness.upstream import FakeUpstream

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


def steps(cache: CacheServer) -> dict[str, dict[str, Any]]:
    report = json.loads(cache.run("check", "--json").stdout)
    return {step["step"]: step for step in report["bucket"]["steps"]}


def test_a_good_bucket_is_all_ok_and_left_empty(bucket: TestBucket, make_cache: MakeCache) -> None:
    cache = make_cache(sharing(bucket.settings))

    assert {name: step["state"] for name, step in steps(cache).items()} == dict.fromkeys(
        ["write", "condition", "signed URL", "absence", "delete"], "ok"
    )
    assert bucket.all_keys() == []


@pytest.mark.parametrize(
    ("change", "reason", "remedy"),
    [
        ({"secretkey": "another"}, "SignatureDoesNotMatch", "check storage.s3.accesskey and secretkey"),
        ({"accesskey": "nobody"}, "InvalidAccessKeyId", "check storage.s3.accesskey and secretkey"),
        ({"bucket": "no-such-bucket"}, "NoSuchBucket", "make the bucket"),
        ({"regionendpoint": "http://127.0.0.1:1"}, "EndpointConnectionError", "check storage.s3.regionendpoint"),
        ({"accesskey": READER[0], "secretkey": READER[1]}, "AccessDenied", "s3:PutObject"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(
    bucket: TestBucket, make_cache: MakeCache, change: dict[str, str], reason: str, remedy: str
) -> None:
    cache = make_cache(sharing({**bucket.settings, **change}))

    [step] = steps(cache).values()

    assert (step["step"], step["state"]) == ("write", "failed")
    assert reason in step["message"]
    assert remedy in step["remedy"]


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
