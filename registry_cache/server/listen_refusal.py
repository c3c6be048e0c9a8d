"""Why an address cannot be listened on, in an operator's words, and what helps against it. Pure."""

from __future__ import annotations

import errno
import socket

# What helps where another address is the only help.
_OTHER = "name another"

_NOT_OURS = "not an address of this machine"

# By the kernel's number: a reason in an operator's words, where the kernel's are short (None: the error's own), and
# the remedy.
_TROUBLES: dict[int, tuple[str | None, str]] = {
    errno.EADDRINUSE: (
        "something listens there already, perhaps the registry that this one takes the place of",
        "stop what is in the way, or name another",
    ),
    errno.EADDRNOTAVAIL: (
        "this machine does not have that address",
        "name one that `ip address` shows, or :{port} for all",
    ),
    errno.EACCES: (
        "Permission denied: ports below 1024 are for root, and for programs with CAP_NET_BIND_SERVICE",
        _OTHER,
    ),
    errno.ENOENT: (None, "make it, or name another"),
    errno.EAFNOSUPPORT: ("this machine has no such kind of address, as where IPv6 is off", "name one of IPv4"),
}


class CannotListen(Exception):
    """Why an address cannot be listened on, and what to do."""


def refusal(key: str, where: str, port: int, error: OSError, *, remedy_if_taken: str | None = None) -> CannotListen:
    """Return what to say of the configuration's ``key``, whose ``where`` the kernel or the resolver refused.

    ``remedy_if_taken`` is what helps where something else listens there, if not what helps at a start.
    """
    if isinstance(error, socket.gaierror):
        reason: str | None = f"nobody knows an address of that name ({error.strerror})"
        remedy = f"correct the name, or name an address of this machine, or :{port} for all"
    else:
        reason, remedy = _TROUBLES.get(error.errno or 0, (None, _OTHER))
    if error.errno == errno.EADDRINUSE and remedy_if_taken:
        remedy = remedy_if_taken
    return CannotListen(
        f"{key}: cannot listen on {where}: {reason or error.strerror or _NOT_OURS}; {remedy.format(port=port)}"
    )
