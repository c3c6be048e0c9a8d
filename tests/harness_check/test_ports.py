"""Ports for programs that start slowly are given to one test alone."""

import itertools
import random
import socket
import subprocess
import sys

import pytest

from tests.harness.ports import free_ports

ASK = """
import itertools, random
from tests.harness.ports import free_ports
numbers = itertools.count({})
random.choice = lambda _: next(numbers)
print(free_ports(1)[0])
"""


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> int:
    """A port that was given and on which nobody listens; it is the first that is tried from now on."""
    [port] = free_ports(1)
    numbers = itertools.count(port)
    monkeypatch.setattr(random, "choice", lambda _: next(numbers))
    return port


def test_a_port_is_given_once_though_nobody_listens_there_yet(given: int) -> None:
    assert free_ports(1)[0] > given


def test_nor_is_it_given_to_another_process(given: int) -> None:
    asked = subprocess.run([sys.executable, "-c", ASK.format(given)], capture_output=True, check=True, timeout=60)

    assert int(asked.stdout) > given


def test_what_somebody_listens_on_is_not_free(given: int) -> None:
    with socket.create_server(("127.0.0.1", given)):
        assert free_ports(1)[0] > given
