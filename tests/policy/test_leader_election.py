"""Who asks the registry: single situations, and a model of nodes to which anything happens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_cache.errors import BlobUnknown
from registry_cache.policy.leader_election import (
    Adopt,
    AskAlone,
    Bid,
    Follow,
    Holder,
    LeaderNote,
    Lease,
    Signs,
    Situation,
    StartOver,
    Take,
    Wait,
    decide,
)
from tests.harness.lease_model import WHOLE, LeaseModel

LEASE = Lease("b", "http://b", "1", "docker.io", "library/app")
HOLDER = Holder("c", "http://c")
NOTHING = Situation(me="a", upstream="docker.io", repository="library/app", size=0)
ERROR = BlobUnknown("no")
DETOUR = Follow("c", "http://c", None, fetches=True, is_detour=True)
NOTE = LeaderNote(ERROR, upstream="docker.io", repository="library/app")
AWAY = replace(NOTHING, is_away=True, home=HOLDER)
FOLLOWED = replace(NOTHING, followed="1", size=5)


@pytest.mark.parametrize(
    ("situation", "action"),
    [
        (NOTHING, Take()),
        (replace(NOTHING, is_away=True, lease=LEASE), AskAlone(claims=True)),
        (AWAY, Follow("c", "http://c", None, fetches=True)),
        (replace(AWAY, refused={"c"}), AskAlone(claims=True)),
        (replace(NOTHING, epoch_age=1.0), Wait(2.0)),
        (replace(NOTHING, epoch_age=-50.0), Wait(3.0)),
        (replace(NOTHING, lease=LEASE), Follow("b", "http://b", LEASE)),
        (replace(NOTHING, lease=LEASE, epoch_age=1.0), Follow("b", "http://b", LEASE)),
        (replace(NOTHING, lease=LEASE, refused={"b"}), AskAlone(claims=False)),
        (replace(NOTHING, lease=LEASE, upstream="ghcr.io"), AskAlone(claims=False)),
        (replace(NOTHING, lease=replace(LEASE, node="a")), Take()),
        (replace(NOTHING, holder=HOLDER), Follow("c", "http://c", None)),
        (replace(NOTHING, holder=HOLDER, refused={"c"}), Take()),
        (replace(NOTHING, holder=replace(HOLDER, node="a")), Take()),
        (replace(NOTHING, pieces=HOLDER), Follow("c", "http://c", None, fetches=True)),
        (replace(NOTHING, pieces=HOLDER, lease=LEASE), Follow("b", "http://b", LEASE)),
        (replace(NOTHING, pieces=HOLDER, holder=replace(HOLDER, node="d")), Follow("d", "http://c", None)),
        (replace(NOTHING, pieces=HOLDER, refused={"c"}), Take()),
        (replace(NOTHING, deputy=HOLDER), DETOUR),
        (replace(NOTHING, deputy=HOLDER, lease=LEASE), Follow("b", "http://b", LEASE)),
        (replace(NOTHING, deputy=HOLDER, holder=replace(HOLDER, node="d")), Follow("d", "http://c", None)),
        (replace(NOTHING, deputy=HOLDER, refused={"c"}), Take()),
        (replace(NOTHING, deputy=HOLDER, size=1), Take()),
        (
            replace(NOTHING, deputy=HOLDER, pieces=replace(HOLDER, node="d")),
            Follow("d", "http://c", None, fetches=True),
        ),
        (replace(NOTHING, way=HOLDER, lease=LEASE), DETOUR),
        (replace(FOLLOWED, way=HOLDER, lease=LEASE), DETOUR),
        (replace(NOTHING, way=HOLDER, holder=Holder("b", "http://b")), DETOUR),
        (replace(NOTHING, way=HOLDER, lease=LEASE, refused={"c"}), Follow("b", "http://b", LEASE)),
        (replace(FOLLOWED, way=HOLDER, lease=LEASE, dead={"1"}), Bid()),
        # Another node has our name, and has taken our lease.
        (replace(NOTHING, lease=replace(LEASE, node="a"), displaced=True), AskAlone(claims=False)),
        # What is here would be sent again.
        (replace(NOTHING, pieces=HOLDER, size=1), Take()),
        (replace(FOLLOWED, holder=HOLDER), Follow("c", "http://c", None)),
        (FOLLOWED, Bid()),
        (replace(FOLLOWED, lease=LEASE, dead={"1"}), Bid()),
        (replace(FOLLOWED, lease=LEASE, dead={"1"}, displaced=True), AskAlone(claims=False)),
        (replace(NOTHING, lease=LEASE, displaced=True), Follow("b", "http://b", LEASE)),
        (replace(FOLLOWED, bid_age=0.05, best="a"), Wait(0.15 - 0.05)),
        (replace(FOLLOWED, bid_age=0.2, best="a"), Take()),
        (replace(FOLLOWED, bid_age=0.2, best="b"), Wait(0.15 + 0.3 - 0.2)),
        (replace(FOLLOWED, bid_age=0.5, best="b"), Take()),
        (replace(FOLLOWED, note=NOTE), Adopt(ERROR)),
        (replace(FOLLOWED, note=NOTE, lease=LEASE), Adopt(ERROR)),
        # Another client has asked again, or our repository was not the one that was refused.
        (replace(FOLLOWED, note=NOTE, lease=replace(LEASE, id="2")), Follow("b", "http://b", replace(LEASE, id="2"))),
        (replace(FOLLOWED, note=replace(NOTE, repository="library/other")), Bid()),
        (replace(FOLLOWED, note=LeaderNote(wrong_bytes=True, successor="2"), lease=LEASE), StartOver("2")),
        (replace(FOLLOWED, size=0, note=LeaderNote(wrong_bytes=True), lease=LEASE), Follow("b", "http://b", LEASE)),
        (replace(FOLLOWED, size=0, note=LeaderNote(wrong_bytes=True, successor="2")), StartOver("2")),
    ],
)
def test_a_situation(situation: Situation, action: object) -> None:
    assert decide(situation) == action


@pytest.mark.parametrize(
    ("signs", "left", "dead"),
    [
        (Signs(), 0.1, False),
        (Signs(was_silent=True), 5.5, False),
        (Signs(was_silent=True), 3.0, True),
        (Signs(failed_connections=1), 5.5, False),
        (Signs(failed_connections=2), 5.5, True),
        (Signs(denied=2), 5.5, True),
        (Signs(is_cut_off=True), 5.5, True),
    ],
)
def test_signs_of_death(signs: Signs, left: float, dead: bool) -> None:
    assert signs.is_dead(replace(LEASE, left=left)) is dead


NODE = st.integers(0, 3)
# So many rounds in which each node does one thing, beginning with the node that is named; and then a fault.
ROUNDS = st.integers(0, 12)
KILLS = st.tuples(ROUNDS, st.sampled_from(["kill", "pieces"]), NODE)
WORDS = ["kill", "pause", "go on", "empty", "away", "back", "later", "pieces", "close", "hide", "open", "deputy"]
FAULTS = st.tuples(ROUNDS, st.sampled_from(WORDS), NODE)


def play(model: LeaseModel, rounds: int, word: str, number: int) -> Iterator[None]:
    """Yield after each step."""
    first = number % len(model.nodes)
    for _ in range(rounds):
        for node in model.nodes[first:] + model.nodes[:first]:
            model.step(node)
            yield
    node = model.nodes[first]
    match word:
        case "kill":
            node.is_alive = False
        case "pause" | "go on":
            node.is_paused = word == "pause"
        case "empty":
            model.redis.empty(model.now)
        case "away" | "back":
            model.redis.is_away = word == "away"
        case "pieces":
            model.redis.pieces = Holder(node.name, node.name)
        case "later":
            model.now += 7.0
        case "close":
            model.closed.add((node.name, model.nodes[first - 1].name))
        case "hide":
            model.closed |= {(each.name, node.name) for each in model.nodes}
        case "open":
            model.closed.clear()
        case "deputy":
            node.deputy = "" if len(model.nodes) == 1 else model.nodes[first - 1].name


def play_to_the_end(model: LeaseModel, order: list[int]) -> None:
    """Let nodes do one thing each in this order, and then in turn until all have the blob."""
    for number in order:
        model.step(model.nodes[number % len(model.nodes)])
    while not all(node.is_done for node in model.nodes):
        for node in model.nodes:
            model.step(node)


@settings(max_examples=1000)
@given(st.integers(1, 4), st.lists(st.one_of(FAULTS, KILLS), max_size=8))
def test_nobody_waits_for_ever(nodes: int, program: list[tuple[int, str, int]]) -> None:
    """Whatever has happened: when it is over, every node that lives has the blob within seconds."""
    model = LeaseModel(nodes)
    for fault in program:
        for _ in play(model, *fault):
            pass

    model.redis.is_away = False
    for node in model.nodes:
        node.is_paused = False
    began = model.now
    while any(node.is_alive and not node.is_done for node in model.nodes):
        assert model.now - began < 120, model.nodes
        for node in model.nodes:
            model.step(node)


@settings(max_examples=500)
@given(st.integers(2, 4), st.lists(KILLS, max_size=6))
def test_nobody_leads_beside_another_while_redis_is_well(nodes: int, program: list[tuple[int, str, int]]) -> None:
    """Nodes may die at any moment; those that live renew their leases in time."""
    model = LeaseModel(nodes)
    for fault in [*program, (40, "kill", 0)]:
        for _ in play(model, *fault):
            assert len(model.leaders()) <= 1, model.nodes


@given(st.integers(2, 4), st.lists(NODE, min_size=1, max_size=60), st.booleans(), st.booleans())
def test_while_nodes_see_each_other_the_registry_sends_each_byte_once(
    nodes: int, order: list[int], is_away: bool, has_pieces: bool
) -> None:
    """With Redis and without; and where the last one has pieces."""
    model = LeaseModel(nodes)
    model.redis.is_away = is_away
    model.redis.pieces = Holder(model.nodes[-1].name, model.nodes[-1].name) if has_pieces else None
    play_to_the_end(model, order)

    assert model.sent == WHOLE


@given(st.integers(3, 4), st.lists(NODE, min_size=1, max_size=60), NODE, NODE)
def test_where_one_way_is_closed_the_registry_sends_each_byte_once(
    nodes: int, order: list[int], one: int, other: int
) -> None:
    model = LeaseModel(nodes)
    model.closed = {(f"node{one % nodes}", f"node{other % nodes}")}
    play_to_the_end(model, order)
    assert model.sent == WHOLE


@given(st.integers(2, 4), st.lists(NODE, min_size=1, max_size=60))
def test_where_a_node_that_no_other_reaches_knows_it_the_registry_sends_each_byte_once(
    nodes: int, order: list[int]
) -> None:
    model = LeaseModel(nodes)
    hidden = model.nodes[0]
    hidden.deputy = model.nodes[-1].name
    model.closed = {(each.name, hidden.name) for each in model.nodes}
    play_to_the_end(model, order)
    assert model.sent == WHOLE
