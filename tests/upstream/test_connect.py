"""A host with several addresses, some of them dead: the first that answers is connected to, and soon."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from registry_cache.upstream import connect as connecting
from registry_cache.upstream.connect import (
    Address,
    NotPublic,
    connect,
    connect_first,
    in_order,
    is_public,
    is_public_host,
)
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
    connecting._last_good.clear()
    yield found
    connecting._last_good.clear()


def test_four_dead_addresses_cost_a_second(dead: list[Address], alive: Address) -> None:
    began = time.monotonic()
    with closing(connect_first([*dead, alive], SECONDS)) as found:
        assert found.getpeername() == alive[4]
        assert found.gettimeout() == SECONDS
    assert 0.9 < time.monotonic() - began < SECONDS / 2


def test_the_one_that_worked_is_the_first_next_time(
    dead: list[Address], alive: Address, resolves: list[Address]
) -> None:
    resolves += [*dead, alive]
    connect("registry.example", 443, SECONDS).close()
    began = time.monotonic()
    connect("registry.example", 443, SECONDS).close()
    assert time.monotonic() - began < 0.9


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


@pytest.mark.parametrize(
    ("text", "public"),
    [
        *((each, True) for each in ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8")),
        *(
            (each, False)
            for each in ("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "240.0.0.1")
        ),
        *(
            (each, False)
            for each in ("::1", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "100.64.0.1")
        ),
    ],
)
def test_which_addresses_are_public(text: str, public: bool, resolves: list[Address]) -> None:
    assert is_public(text) is public
    resolves.append(address(text, 1))
    assert is_public_host("anything.example") is public


def test_where_only_a_public_address_will_do_no_other_is_connected_to(alive: Address, resolves: list[Address]) -> None:
    resolves.append(alive)
    with pytest.raises(NotPublic, match="private address"):
        connect("tokens.example", 443, SECONDS, public_only=True)
