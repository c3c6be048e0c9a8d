"""What is pinned on one node is pinned on all, and stays so whoever is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.notes import Notes
from registry_cache.oci.pattern import ImagePattern
from registry_cache.pull.cluster.pins import NearPins
from registry_cache.store.pins import Pin, Pins
from tests.harness.near_rig import SEALS, SharedRedis
from tests.harness.redis_server import RedisServer
from tests.harness.store_rig import HUB, open_store

pytestmark = pytest.mark.once

ONE, TWO = (Pin(HUB, ImagePattern.parse(image), 1.0) for image in ("library/one:1", "library/two:*"))


class Node:
    """A node's pins; its clock is ahead by `ahead` seconds."""

    def __init__(self, folder: Path, server: RedisServer, ahead: float) -> None:
        self.redis = SharedRedis(server)
        self.pins = Pins(open_store(folder).layout, lambda: 1000.0 + ahead)
        self.near = NearPins(Notes(self.redis, SEALS, "pins"), self.pins, lambda: 1000.0 + ahead)

    @property
    def pinned(self) -> set[tuple[str, str]]:
        return {pin.key for pin in self.pins.all()}


Nodes = list[Node]


@pytest.fixture
def nodes(empty_server: RedisServer, tmp_path: Path) -> Iterator[Nodes]:
    """Three of them, with clocks ten minutes apart."""
    found = [Node(tmp_path / f"{number}", empty_server, number * 600.0) for number in range(3)]
    yield found
    for node in found:
        node.redis.close()


def exchange(nodes: Nodes) -> None:
    for node in nodes:
        node.near.exchange()


def test_all_nodes_have_what_any_has_pinned_and_not_what_any_has_unpinned(nodes: Nodes) -> None:
    nodes[0].pins.add([ONE])
    nodes[2].pins.add([TWO])
    exchange(nodes * 2)
    assert [node.pinned for node in nodes] == [{ONE.key, TWO.key}] * 3

    # By whichever clock.
    for node, pin in ((nodes[0], TWO), (nodes[2], ONE)):
        node.pins.remove([pin])
        exchange([node, *nodes])
        assert all(pin.key not in each.pinned for each in nodes)
    nodes[0].pins.add([ONE])
    exchange([nodes[0], *nodes])
    assert [node.pinned for node in nodes] == [{ONE.key}] * 3


def test_what_is_known_costs_no_writing(nodes: Nodes) -> None:
    nodes[0].pins.add([ONE])
    nodes[0].pins.remove([ONE])
    exchange(nodes * 2)
    before = [node.redis.asked for node in nodes]
    exchange(nodes)
    assert [node.redis.asked for node in nodes] == [number + 1 for number in before]


def test_nothing_pinned_is_lost_with_redis(nodes: Nodes, server: RedisServer) -> None:
    nodes[0].pins.add([ONE])
    exchange(nodes)
    nodes[1].redis.is_away = True
    with pytest.raises(RedisAway):
        nodes[1].near.exchange()
    assert nodes[1].pinned == {ONE.key}

    # It is back, empty; one node has been changed meanwhile.
    nodes[1].pins.add([TWO])
    server.ask("FLUSHALL")
    nodes[1].redis.is_away = False
    exchange(nodes * 2)
    assert [node.pinned for node in nodes] == [{ONE.key, TWO.key}] * 3


def test_an_unpinned_image_is_not_pinned_anew_by_a_node_that_was_away(nodes: Nodes) -> None:
    nodes[0].pins.add([ONE])
    exchange(nodes)
    nodes[0].pins.remove([ONE])
    exchange(nodes[:2])
    exchange([nodes[2], *nodes])
    assert [node.pinned for node in nodes] == [set()] * 3


def test_a_node_that_cannot_read_its_pins_tells_nobody_that_there_are_none(nodes: Nodes, tmp_path: Path) -> None:
    nodes[0].pins.add([ONE])
    exchange(nodes)
    damaged = tmp_path / "1" / "pins.json"
    damaged.write_text("{")
    exchange(nodes)
    assert damaged.read_text() == "{"
    assert nodes[0].pinned == nodes[2].pinned == {ONE.key}


def test_what_is_no_list_of_pins_is_none(nodes: Nodes, server: RedisServer) -> None:
    nodes[0].pins.add([ONE])
    exchange(nodes)
    Notes(nodes[0].redis, SEALS, "pins").put("all", {"pins": [1]}, 60)
    exchange(nodes * 2)
    assert [node.pinned for node in nodes] == [{ONE.key}] * 3


def test_of_the_workers_of_a_node_one_exchanges_and_the_next_when_it_has_ended(nodes: Nodes, tmp_path: Path) -> None:
    lock, [first, second, _] = str(tmp_path / "exchange.lock"), nodes
    for worker in (first, second) * 2:
        worker.near.exchange_in_one_worker(lock)
    assert (first.redis.asked, second.redis.asked) == (2, 0)

    assert first.near._turn
    first.near._turn.close()
    second.near.exchange_in_one_worker(lock)
    assert second.redis.asked == 1


def test_where_no_worker_can_lock_all_exchange(nodes: Nodes, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for worker in nodes[:2]:
        worker.near.exchange_in_one_worker(f"{tmp_path}/file/exchange.lock")
    assert [worker.redis.asked for worker in nodes] == [1, 1, 0]
