"""Tags under `tag_max_age` on several nodes: one word of the registry is good for all of them."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from registry_cache.errors import ManifestUnknown
from registry_cache.oci.digest import Digest
from registry_cache.pull.outcome import Outcome
from tests.harness.near_rig import NearNode
from tests.harness.store_rig import APP
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

pytestmark = pytest.mark.once

HOUR = timedelta(hours=1)


def publish(upstream: FakeUpstream, number: int) -> Digest:
    document = json.dumps({"schemaVersion": 2, "layers": [], "annotations": {"number": str(number)}}).encode()
    return Digest.parse(upstream.add_manifest(document, tag="latest"))


def test_a_tag_that_one_node_has_asked_about_costs_the_others_nothing(
    near_nodes: list[NearNode], upstream: FakeUpstream
) -> None:
    first = publish(upstream, 1)
    one, two, _ = near_nodes
    answers = [node.get(max_age=HOUR) for node in near_nodes]
    assert [answer.digest for answer in answers] == [first] * 3
    assert len(upstream.requests()) == 2, "a HEAD and a GET"

    # It has moved; one node finds out, as its own word has become too old, and then no other serves the old one.
    second = publish(upstream, 2)
    for node in near_nodes:
        node.ahead += 2 * HOUR
    one.redis.ask(("FLUSHALL",))
    assert one.get(max_age=HOUR).digest == second
    upstream.forget()
    upstream.stop()
    answers = [node.get(max_age=HOUR) for node in near_nodes]
    assert [answer.digest for answer in answers] == [second] * 3
    # What it has been told a node keeps: from now on it is a hit, and Redis is not asked.
    asked = two.redis.asked
    again = two.get(max_age=HOUR)
    assert (again.outcome, again.digest, again.reason) == (Outcome.HIT, second, None)
    assert two.redis.asked == asked
    assert again.checked_at
    assert again.checked_at <= two.now()


def test_who_has_a_copy_waits_once_for_what_a_tag_has_moved_to(
    near_nodes: list[NearNode], upstream: FakeUpstream
) -> None:
    first = publish(upstream, 1)
    one, two, _ = near_nodes
    for node in near_nodes:
        node.get(max_age=HOUR)
        node.ahead += 2 * HOUR
    one.redis.ask(("FLUSHALL",))
    second = publish(upstream, 2)
    one.get(max_age=HOUR)
    upstream.forget()

    # The manifest that it means now comes from nowhere in time.
    two.is_lost = True
    upstream.faults.hold_before = ".*/manifests/"
    upstream.faults.gate.clear()
    stale = two.get(max_age=HOUR, timeout_seconds=0.2)
    assert (stale.outcome, stale.digest) == (Outcome.STALE, first)
    assert upstream.requests("HEAD") == [], "it has waited for the manifest, and not for the tag as well"

    upstream.faults.release()
    eventually(lambda: two.get(max_age=HOUR).digest == second)


def test_a_word_ages_on_its_way(near_nodes: list[NearNode], upstream: FakeUpstream) -> None:
    publish(upstream, 1)
    one, two, three = near_nodes
    one.get(max_age=HOUR)
    [key] = one.redis.ask(("KEYS", "rc:1:tag:*"))[0]
    one.redis.ask(("PEXPIRE", key, 20 * 60_000))
    upstream.forget()

    # Forty minutes old by Redis' clock: too old for who wants half an hour.
    assert two.get(max_age=HOUR / 2).outcome is Outcome.MISS
    assert len(upstream.requests("HEAD")) == 1
    assert three.get().outcome is Outcome.MISS, "tag_max_age is 0 for this one"
    assert len(upstream.requests("HEAD")) == 2


@pytest.mark.parametrize("minutes", [-10, 10])
def test_clocks_that_are_apart_cost_nothing(near_nodes: list[NearNode], upstream: FakeUpstream, minutes: int) -> None:
    digest = publish(upstream, 1)
    one, two, three = near_nodes
    two.ahead = timedelta(minutes=minutes)
    two.cluster.membership.beat()
    assert [node.get(max_age=timedelta(seconds=60)).digest for node in (one, two, three)] == [digest] * 3
    assert len(upstream.requests()) == 2


def test_a_word_that_a_stranger_has_put_back_into_redis_is_too_old(
    near_nodes: list[NearNode], upstream: FakeUpstream
) -> None:
    one, two, three = near_nodes
    first = publish(upstream, 1)
    one.get(max_age=HOUR)
    [key] = one.redis.ask(("KEYS", "rc:1:tag:*"))[0]
    [old] = one.redis.ask(("GET", key))
    second = publish(upstream, 2)
    for node, minutes, digest in ((two, 64, first), (three, 66, second)):
        one.redis.ask(("SET", key, old, "PX", 3_600_000))
        node.ahead = timedelta(minutes=minutes)
        assert node.get(max_age=HOUR).digest == digest


def test_a_tag_that_is_gone_is_gone_for_all(near_nodes: list[NearNode], upstream: FakeUpstream) -> None:
    publish(upstream, 1)
    one, two, three = near_nodes
    one.get(max_age=HOUR)
    two.get(max_age=HOUR)
    upstream.untag(str(APP), "latest")
    with pytest.raises(ManifestUnknown):
        two.get(max_age=timedelta(microseconds=1))
    with pytest.raises(ManifestUnknown):
        three.get(max_age=HOUR)


def test_without_redis_each_node_asks(near_nodes: list[NearNode], upstream: FakeUpstream) -> None:
    digest = publish(upstream, 1)
    for node in near_nodes:
        node.redis.is_away = True
    assert [node.get(max_age=HOUR).digest for node in near_nodes] == [digest] * 3
    assert len(upstream.requests("HEAD")) == 3


@pytest.mark.parametrize("document", [{}, {"digest": "sha256:no"}, {"digest": 1, "life": "x"}])
def test_a_word_that_is_not_understood_is_none(
    near_nodes: list[NearNode], upstream: FakeUpstream, document: dict[str, object]
) -> None:
    digest = publish(upstream, 1)
    one, *_ = near_nodes
    good = {"digest": str(digest), "media_type": "a", "size": 1, "at": one.now().timestamp(), "life": 3600}
    one.cluster.tags.put(f"docker.io/{APP}:latest", {**good, **document} if document else {}, 3600)
    assert one.get(max_age=HOUR).outcome is Outcome.MISS
    assert len(upstream.requests("HEAD")) == 1
