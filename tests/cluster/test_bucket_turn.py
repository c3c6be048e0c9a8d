"""Of several nodes' cleanups of the bucket one walks through it; and none is kept from it by a node that died."""

from __future__ import annotations

import json

import pytest

from registry_cache.cluster import bucket_turn
from registry_cache.cluster.bucket_turn import BucketTurn
from registry_cache.cluster.redis_address import RedisAddress
from registry_cache.cluster.redis_client import RedisClient
from registry_cache.runtime.seals import Seals
from tests.harness.cluster_rig import SECRET
from tests.harness.fixture_types import MakeCache
from tests.harness.redis_server import RedisServer
from tests.harness.waiting import eventually

KEY = "rc:1:bucket-turn"


@pytest.fixture
def redis(empty_server: RedisServer) -> RedisServer:
    return empty_server


def turn_of(node: str, redis: RedisServer, secret: str = SECRET) -> BucketTurn:
    return BucketTurn(RedisClient(RedisAddress(host="127.0.0.1", port=redis.port)), Seals(secret), node)


def test_while_one_works_and_for_a_while_after_the_others_leave_it_alone(redis: RedisServer) -> None:
    one, two = turn_of("node1", redis), turn_of("node2", redis)

    assert one.take() == ""
    with one.held():
        assert two.take() == "node1"
    assert two.take() == "node1"
    assert turn_of("node1", redis).take() == "", "who types it again means it"


def test_one_that_failed_gives_it_back(redis: RedisServer) -> None:
    one = turn_of("node1", redis)
    assert one.take() == ""
    with pytest.raises(OSError, match="away"), one.held():
        raise OSError("the bucket is away")

    assert turn_of("node2", redis).take() == ""


def test_one_that_died_is_waited_for_no_longer_than_a_minute(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bucket_turn.LIFE_SECONDS <= 60
    monkeypatch.setattr(bucket_turn, "LIFE_SECONDS", 0.05)
    assert turn_of("node1", redis).take() == ""
    assert int(redis.ask("PTTL", KEY)[1:]) <= 50

    eventually(lambda: turn_of("node2", redis).take() == "")


def test_one_that_takes_long_keeps_it(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_turn, "RENEW_SECONDS", 0.01)
    one = turn_of("node1", redis)
    assert one.take() == ""
    with one.held():
        redis.ask("PEXPIRE", KEY, "30000")
        eventually(lambda: int(redis.ask("PTTL", KEY)[1:]) > 30_000)


def test_who_does_not_know_the_secret_keeps_nobody_from_it(redis: RedisServer) -> None:
    assert turn_of("stranger", redis, secret="another").take() == ""

    assert turn_of("node1", redis).take() == ""


def test_the_command_leaves_it_to_the_other_node(redis: RedisServer, make_cache: MakeCache) -> None:
    nowhere = {"region": "r", "bucket": "shared", "regionendpoint": "http://127.0.0.1:1"}
    cache = make_cache(
        {
            "storage": {"s3": {**nowhere, "accesskey": "key", "secretkey": "secret"}},
            "redis": {"addr": redis.address},
            "http": {"secret": SECRET},
            "cluster": {"node": "node2", "max_size": "1GB"},
        }
    )
    other = turn_of("node1", redis)
    assert other.take() == ""

    with other.held():
        left = cache.run("cleanup", "--shared", "--json")
        tried = cache.run("cleanup", "--shared", "--dry-run")
    redis.stop()
    alone = cache.run("cleanup", "--shared")
    redis.start()

    assert (left.returncode, json.loads(left.stdout)) == (0, {"version": 1, "left_to": "node1"})
    # There is no bucket: these two have tried.
    assert (tried.returncode, alone.returncode) == (1, 1)
