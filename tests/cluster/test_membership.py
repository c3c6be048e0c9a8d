"""What nodes know of each other, and of the time: by Redis' clock, as their own may be minutes apart."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from registry_cache.api.peers import PeerGate
from registry_cache.cluster.membership import MEMBER_SECONDS, MEMORY_SECONDS, Membership
from registry_cache.errors import Denied
from registry_cache.runtime.seals import AskedOfPeer
from tests.harness.near_rig import SEALS, SharedRedis
from tests.harness.redis_server import RedisServer

pytestmark = pytest.mark.once

TEN_MINUTES = 600.0


@pytest.fixture
def redis(empty_server: RedisServer) -> Iterator[SharedRedis]:
    found = SharedRedis(empty_server)
    yield found
    found.close()


def node(redis: SharedRedis, name: str, ahead: float) -> Membership:
    return Membership(redis, SEALS, name, f"http://{name}", now=lambda: time.time() + ahead)


def test_clocks_that_are_apart(redis: SharedRedis) -> None:
    late, early = node(redis, "late", -TEN_MINUTES), node(redis, "early", TEN_MINUTES)
    asked = AskedOfPeer("GET", "/v2/", "", "late")
    gate = PeerGate(SEALS, "early", clock=early.clock)
    # Before they have seen Redis.
    with pytest.raises(Denied):
        gate.admit(SEALS.sign(asked, late.clock()), asked)

    for each in (late, early):
        each.beat()
        each.remember()
    late.remember()

    assert gate.admit(SEALS.sign(asked, late.clock()), asked) == "late"
    assert abs(late.clock() - early.clock()) < 60
    # Each was seen a moment ago, by the clock of whoever looks.
    assert ([each.name for each in late.known()], [each.name for each in early.known()]) == (["early"], ["late"])
    for looks, ahead in ((late, -TEN_MINUTES), (early, TEN_MINUTES)):
        assert all(abs(time.time() + ahead - each.seen_at) < 60 for each in looks.look()[0])
    assert abs(late.redis_time() - time.time()) < 60


def test_a_clock_that_is_set_while_the_node_runs(redis: SharedRedis) -> None:
    ahead = [0.0]
    one = Membership(redis, SEALS, "one", "http://one", now=lambda: time.time() + ahead[0])
    one.beat()
    asked = AskedOfPeer("GET", "/v2/", "", "one")
    gate = PeerGate(SEALS, "two", clock=time.time)
    for ahead[0] in (TEN_MINUTES, -TEN_MINUTES):
        assert gate.admit(SEALS.sign(asked, one.clock()), asked) == "one"


def test_a_node_that_says_nothing_any_more_is_listed_and_not_known(redis: SharedRedis) -> None:
    one, other = node(redis, "one", 0), node(redis, "other", 0)
    one.beat()
    other.beat()
    redis.ask(("PEXPIRE", "rc:1:node:other", int((MEMORY_SECONDS - MEMBER_SECONDS - 1) * 1000)))
    one.remember()
    assert one.known() == []
    assert [each.name for each in one.look()[0]] == ["one", "other"]
