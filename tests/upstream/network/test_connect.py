"""A host with several addresses, some of them dead: the first that answers is connected to, and soon."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from registry_cache.upstream.network import connect as connecting
from registry_cache.upstream.network.connect import (
    Address,
    OutOfReach,
    connect,
    connect_first,
    in_order,
    record_failure,
)
from registry_cache.upstream.network.zones import PUBLIC_ONLY, Reach, Zone, reach_from
from tests.harness.pull_rig import SECONDS

V4, V6 = socket.AF_INET, socket.AF_INET6


def address(host: str, port: int, family: int = V4) -> Address:
    return (family, socket.SOCK_STREAM, 6, "", (host, port))


@pytest.fixture
def alive() -> Iterator[Address]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield address(*server.getsockname())


@pytest.fixture
def refusing() -> Address:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return address(*server.getsockname())


@pytest.fixture
def dead() -> Iterator[list[Address]]:
    """Four addresses at which nobody says anything: their queues are full."""
    with ExitStack() as stack:
        found = []
        for _ in range(4):
            server = stack.enter_context(socket.create_server(("127.0.0.2", 0), backlog=0))
            found.append(address(*server.getsockname()))
            for _ in range(3):
                filling = stack.enter_context(socket.socket())
                filling.setblocking(False)
                filling.connect_ex(server.getsockname())
        yield found


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Address]]:
    """What every name resolves to; nothing is known from before."""
    found: list[Address] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: list(found))
    for memory in (connecting._last_good, connecting._failed, connecting._several):
        memory.clear()
    yield found
    for memory in (connecting._last_good, connecting._failed, connecting._several):
        memory.clear()


def test_four_dead_addresses_cost_a_second(dead: list[Address], alive: Address) -> None:
    began = time.monotonic()
    with closing(connect_first([*dead, alive], SECONDS)) as found:
        assert found.getpeername() == alive[4]
        assert found.gettimeout() == SECONDS
    assert 0.9 < time.monotonic() - began < SECONDS / 2


def test_the_one_that_worked_is_the_first_next_time(
    dead: list[Address], alive: Address, resolves: list[Address], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolves += [*dead, alive]
    connect("registry.example", 443, SECONDS).close()
    # Behind a dead one it would have to wait for so long.
    monkeypatch.setattr(connecting, "ATTEMPT_DELAY_SECONDS", SECONDS)
    began = time.monotonic()
    connect("registry.example", 443, SECONDS).close()
    assert time.monotonic() - began < SECONDS / 2


def test_an_address_that_accepts_and_serves_nothing_is_the_last_next_time(
    alive: Address, resolves: list[Address]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        resolves += [alive, address(*server.getsockname())]
        connect("registry.example", 443, SECONDS).close()
        assert record_failure("registry.example", 443, alive[4])
        with closing(connect("registry.example", 443, SECONDS)) as found:
            assert found.getpeername() == server.getsockname()


def test_the_only_address_stays_the_first(alive: Address, resolves: list[Address]) -> None:
    resolves.append(alive)
    connect("registry.example", 443, SECONDS).close()
    assert not record_failure("registry.example", 443, alive[4])


def test_a_refusal_costs_no_time(refusing: Address, alive: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "ATTEMPT_DELAY_SECONDS", SECONDS)
    with closing(connect_first([refusing, refusing, alive], SECONDS)) as found:
        assert found.getpeername() == alive[4]


def test_where_nobody_answers_each_has_its_time_and_the_last_reason_is_told(
    dead: list[Address], refusing: Address
) -> None:
    with pytest.raises(ConnectionRefusedError):
        connect_first([refusing], SECONDS)
    with pytest.raises(TimeoutError):
        connect_first(dead[:2], 0.3)
    with pytest.raises(OSError, match="no address"):
        connect_first([], SECONDS)


def test_a_family_that_this_machine_lacks_is_passed_over(alive: Address) -> None:
    with closing(connect_first([(9999, socket.SOCK_STREAM, 6, "", ("x", 1)), alive], SECONDS)) as found:
        assert found.getpeername() == alive[4]


def test_the_families_take_turns_and_the_last_good_one_goes_first() -> None:
    six, four = [address(f"::{n}", 1, V6) for n in (1, 2, 3)], [address(f"10.0.0.{n}", 1) for n in (1, 2)]
    assert in_order([*six, *four], None) == [six[0], four[0], six[1], four[1], six[2]]
    assert in_order([*six, *four], ("10.0.0.2", 1))[:2] == [four[1], six[0]]
    assert in_order([], None) == []


@pytest.mark.parametrize("reach", [PUBLIC_ONLY, reach_from(Zone.PRIVATE)])
def test_no_address_out_of_reach_is_connected_to(alive: Address, resolves: list[Address], reach: Reach) -> None:
    resolves.append(alive)
    with pytest.raises(OutOfReach, match="private address"):
        connect("tokens.example", 443, SECONDS, reach=reach)
    connect("tokens.example", 443, SECONDS, reach=reach_from(Zone.LOOPBACK)).close()


def test_each_of_several_addresses_is_judged(
    alive: Address, resolves: list[Address], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Address] = []
    resolves += [alive, address("10.0.0.1", 1), address("192.0.2.1", 1), address("8.8.8.8", 1), address("::1", 1, V6)]
    monkeypatch.setattr(connecting, "_begin", lambda _, each, __: tried.append(each))
    with pytest.raises(OSError, match="no address"):
        connect("tokens.example", 443, SECONDS, reach=PUBLIC_ONLY)
    assert [each[4][0] for each in tried] == ["8.8.8.8"]
