"""What is said of an address that cannot be listened on: four kinds of trouble, and the remedy of each."""

import errno
import os
import socket

import pytest

from registry_cache.server.listen_refusal import refusal


def _kernel(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "reason", "remedy"),
    [
        (_kernel(errno.EADDRINUSE), "something listens there already", "stop what is in the way, or name another"),
        (
            _kernel(errno.EADDRNOTAVAIL),
            "does not have that address",
            "name one that `ip address` shows, or :5001 for all",
        ),
        (_kernel(errno.EACCES), "with CAP_NET_BIND_SERVICE", "name another"),
        (_kernel(errno.EAFNOSUPPORT), "as where IPv6 is off", "name one of IPv4"),
        (OSError("getsockaddrarg: bad"), "not an address of this machine", "name another"),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "nobody knows an address of that name (Name or service not known)",
            "correct the name, or name an address of this machine, or :5001 for all",
        ),
        (
            socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
            "nobody knows an address of that name (Temporary failure in name resolution)",
            "correct the name, or name an address of this machine, or :5001 for all",
        ),
    ],
)
def test_each_kind_of_trouble_has_the_remedy_that_helps(error: OSError, reason: str, remedy: str) -> None:
    told = str(refusal("http.debug.addr", "a.example:5001", 5001, error))
    assert told.startswith("http.debug.addr: cannot listen on a.example:5001: ")
    assert reason in told
    assert told.endswith(f"; {remedy}")


def test_a_reload_may_have_another_remedy_for_what_is_taken() -> None:
    told = refusal("http.addr", ":80", 80, _kernel(errno.EADDRINUSE), remedy_if_taken="name a free one, or restart")
    assert str(told).endswith("; name a free one, or restart")
    told = refusal("http.addr", ":80", 80, _kernel(errno.EACCES), remedy_if_taken="name a free one, or restart")
    assert str(told).endswith("; name another")
