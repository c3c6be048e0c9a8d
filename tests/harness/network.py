"""A network namespace with only a loopback, for programs with fixed ports and for those that must reach nobody."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.harness.components import require

CLONE_NEWNET = 0x40000000  # sched.h; Python has it and its two calls since 3.12
SECONDS = 10
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def own_network() -> Iterator[None]:
    """Put the sockets, threads and processes that this thread starts in the block into a network of their own."""
    ip = require("ip")
    with _back_at_the_end():
        _call("unshare", CLONE_NEWNET)
        subprocess.run([ip, "link", "set", "lo", "up"], check=True, timeout=SECONDS)
        yield


@contextmanager
def inside(network: int) -> Iterator[None]:
    """The same in a network that is there, by a descriptor of its `ns/net`."""
    with _back_at_the_end():
        _call("setns", network, CLONE_NEWNET)
        yield


@contextmanager
def _back_at_the_end() -> Iterator[None]:
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        yield
    finally:
        _call("setns", before, CLONE_NEWNET)
        os.close(before)


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
