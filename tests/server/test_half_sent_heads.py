"""Which of the connections that send no request are ended."""

from __future__ import annotations

import contextlib
from unittest import mock

import gevent

from registry_cache.server.half_sent import MAX_PER_ADDRESS, PATIENT_SECONDS, HalfSent
from tests.harness.loop import Loop


def begin(heads: HalfSent, stack: contextlib.ExitStack, addresses: list[str]) -> list[mock.Mock]:
    connections = [mock.Mock(client_address=address) for address in addresses]
    for each in connections:
        stack.enter_context(heads.waiting(each))
    return connections


def look(loop: Loop, seconds: float) -> None:
    loop.now += seconds
    gevent.idle()
    loop.look.set()
    gevent.idle()


def test_a_crowd_that_has_just_connected_is_left_alone() -> None:
    loop = Loop()
    heads = HalfSent(loop.pause, loop.clock)
    with contextlib.ExitStack() as stack:
        crowd = begin(heads, stack, ["192.0.2.1"] * (MAX_PER_ADDRESS + 2))
        look(loop, PATIENT_SECONDS - 1)
        assert not any(each.end_half_sent.called for each in crowd)
        look(loop, 1)
        assert [each.end_half_sent.called for each in crowd] == [True] * 2 + [False] * MAX_PER_ADDRESS


def test_a_network_of_ipv6_is_one_address_and_a_unix_socket_none() -> None:
    loop = Loop()
    heads = HalfSent(loop.pause, loop.clock)
    with contextlib.ExitStack() as stack:
        crowd = begin(heads, stack, [f"2001:db8::{number:x}" for number in range(MAX_PER_ADDRESS + 1)])
        nginx = begin(heads, stack, [""] * (MAX_PER_ADDRESS + 1))
        others = begin(heads, stack, [f"192.0.2.{number}" for number in range(200)])
        look(loop, PATIENT_SECONDS)
        assert [each.end_half_sent.called for each in crowd] == [True] + [False] * MAX_PER_ADDRESS
        assert not any(each.end_half_sent.called for each in (*nginx, *others))
