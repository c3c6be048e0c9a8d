"""Tags, manifests and what refers to them while Redis is away: one node asks the registry for all that reach it."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from registry_cache.errors import Denied, ManifestUnknown
from registry_cache.oci.digest import Digest
from registry_cache.policy.leader_election import Holder
from registry_cache.policy.rendezvous_hash import rank
from registry_cache.pull.outcome import Outcome
from registry_cache.runtime.peer_question import SharedQuestion
from tests.harness.images import make_artifact
from tests.harness.near_rig import NearNode, NearNodes
from tests.harness.store_rig import APP, OTHER
from tests.harness.targets import target_at
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

pytestmark = pytest.mark.once

TAG = SharedQuestion("tag", "docker.io", str(APP), "latest")

T = TypeVar("T")


def publish(upstream: FakeUpstream, number: int = 1) -> Digest:
    document = json.dumps({"schemaVersion": 2, "layers": [], "annotations": {"number": str(number)}}).encode()
    return Digest.parse(upstream.add_manifest(document, tag="latest"))


def placed(nodes: NearNodes, question: SharedQuestion) -> list[NearNode]:
    """The nodes, in the order in which the question belongs to them."""
    return [nodes[name] for name in rank(question.place, nodes)]


def together(
    nodes: NearNodes, upstream: FakeUpstream, question: SharedQuestion, ask: Callable[[NearNode], T], asked: str
) -> list[T]:
    """What all nodes get that ask at once: upstream's answer to what was `asked` is held until all wait for it."""
    upstream.faults.hold_before = asked
    upstream.faults.gate.clear()
    joined = placed(nodes, question)[0].flights.joined
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(ask, node) for node in nodes.values()]
        eventually(lambda: joined.count(f"for all nodes: {question}") == 3)
        upstream.faults.release()
        return [answer.result(60) for answer in answers]


def test_a_tag_that_all_nodes_want_costs_one_head_and_one_get(blind_nodes: NearNodes, upstream: FakeUpstream) -> None:
    digest = publish(upstream)
    answers = together(blind_nodes, upstream, TAG, lambda node: node.get(), "HEAD .*/manifests/latest")
    assert [answer.digest for answer in answers] == [digest] * 3
    assert len(upstream.requests("HEAD")) == 1
    assert upstream.counted_pulls == 1

    # What every node shared, every node serves at an outage.
    upstream.stop()
    answers = [node.get() for node in blind_nodes.values()]
    assert [(answer.outcome, answer.digest) for answer in answers] == [(Outcome.STALE, digest)] * 3


def test_what_a_tag_means_is_asked_anew_each_time(blind_nodes: NearNodes, upstream: FakeUpstream) -> None:
    """The node that asks for all has just been told of the first, and nobody is served that again."""
    for number in (1, 2):
        digest = publish(upstream, number)
        assert {node.get().digest for node in blind_nodes.values()} == {digest}
    upstream.untag(str(APP), "latest")
    for node in blind_nodes.values():
        with pytest.raises(ManifestUnknown):
            node.get()


def test_a_tag_that_nobody_has_is_asked_for_once(blind_nodes: NearNodes, upstream: FakeUpstream) -> None:
    def ask(node: NearNode) -> type[Exception]:
        with pytest.raises(ManifestUnknown):
            node.get()
        return ManifestUnknown

    together(blind_nodes, upstream, TAG, ask, "HEAD .*/manifests/latest")
    assert len(upstream.requests("HEAD")) == 1


def test_what_refers_to_a_digest_is_asked_for_once(blind_nodes: NearNodes, upstream: FakeUpstream) -> None:
    digest = publish(upstream)
    artifact = make_artifact(upstream, subject=str(digest))
    question = SharedQuestion("referrers", "docker.io", str(APP), str(digest))
    answers = together(
        blind_nodes,
        upstream,
        question,
        lambda node: node.listing.referrers(target_at(node.registry, APP), digest).manifests,
        "GET .*/referrers/",
    )
    assert [[each["digest"] for each in answer] for answer in answers] == [[artifact]] * 3
    assert len(upstream.requests("GET", "/referrers/")) == 1


def test_the_size_of_a_blob_is_asked_for_once(blind_nodes: NearNodes, upstream: FakeUpstream) -> None:
    digest = Digest.parse(upstream.add_blob(b"bytes"))
    question = SharedQuestion("blob", "docker.io", str(APP), str(digest))
    sizes = together(
        blind_nodes,
        upstream,
        question,
        lambda node: node.blobs.head(target_at(node.registry, APP), digest).size,
        "HEAD .*/blobs/",
    )
    assert sizes == [5] * 3
    assert len(upstream.requests("HEAD")) == 1


def test_a_manifest_is_fetched_by_one_node_and_given_to_who_may_have_it(
    blind_nodes: NearNodes, upstream: FakeUpstream
) -> None:
    digest = publish(upstream)
    assert [node.get(digest).digest for node in blind_nodes.values()] == [digest] * 3
    assert upstream.counted_pulls == 1
    for node in blind_nodes.values():
        with pytest.raises(ManifestUnknown):
            node.get(digest, OTHER)


def test_what_was_brought_for_another_node_meanwhile_is_not_fetched_again(
    blind_nodes: NearNodes, upstream: FakeUpstream
) -> None:
    digest = publish(upstream)
    home, other, _ = placed(blind_nodes, SharedQuestion("manifest", "docker.io", str(APP), str(digest)))
    place = home.cluster.placement.home

    def after_the_other(hex: str) -> Holder | None:
        home.cluster.placement.home = place  # type: ignore[method-assign]
        other.get(digest)
        return place(hex)

    home.cluster.placement.home = after_the_other  # type: ignore[assignment, method-assign]

    assert home.get(digest).digest == digest
    assert upstream.counted_pulls == 1


def test_where_the_first_is_gone_each_asks_once_and_then_the_second(
    blind_nodes: NearNodes, upstream: FakeUpstream
) -> None:
    digest = publish(upstream)
    gone, *others = placed(blind_nodes, TAG)
    gone.is_lost = True
    for node in others:
        # Nobody has rested long enough while this lasts.
        node.cluster.placement.clock = lambda: 1.0
    assert [node.get().digest for node in others] == [digest] * 2
    asked = [node.flights.joined.count(f"for all nodes: {TAG}") for node in others]
    assert asked == [1, 1], "each has found out for itself"
    assert [node.get().digest for node in others] == [digest] * 2
    asked = [node.flights.joined.count(f"for all nodes: {TAG}") for node in others]
    assert asked == [3, 1]


def test_a_denial_is_a_nodes_own(blind_nodes: NearNodes, upstream: FakeUpstream) -> None:
    publish(upstream)
    upstream.faults.status = 403
    for node in blind_nodes.values():
        with pytest.raises(Denied):
            node.get()
    assert all(f"for all nodes: {TAG}" in node.flights.joined for node in blind_nodes.values())


def test_nodes_that_do_not_agree_answer_all_the_same(blind_nodes: NearNodes, upstream: FakeUpstream) -> None:
    """Each takes the next one for the node of everything: nobody is sent round in a circle."""
    nodes = list(blind_nodes.values())
    for node, other in zip(nodes, nodes[1:] + nodes[:1], strict=True):
        home = Holder(other.name, other.name)
        node.cluster.placement.home = lambda hex, home=home: home  # type: ignore
    digest = publish(upstream)
    with ThreadPoolExecutor(3) as pool:
        assert {answer.digest for answer in pool.map(NearNode.get, nodes)} == {digest}
    assert len(upstream.requests("HEAD")) <= 3


def test_who_sees_redis_answers_who_does_not_by_what_all_ask_there(
    blind_nodes: NearNodes, upstream: FakeUpstream
) -> None:
    digest = publish(upstream)
    first, blind, third = placed(blind_nodes, TAG)
    first.redis.is_away = third.redis.is_away = False
    upstream.faults.hold_before = "HEAD .*/manifests/latest"
    upstream.faults.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        leads = pool.submit(third.get)
        upstream.wait_until(lambda: upstream.requests("HEAD"))
        asked = first.redis.asked
        waits = pool.submit(blind.get)
        # To join, and a first look.
        eventually(lambda: first.redis.asked >= asked + 2)
        upstream.faults.release()
        assert (leads.result(60).digest, waits.result(60).digest) == (digest, digest)
    assert len(upstream.requests("HEAD")) == 1
