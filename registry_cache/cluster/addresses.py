"""The address of this machine that other nodes can reach."""

from __future__ import annotations

import socket


def own_address(host: str, port: int) -> str:
    """Return the address from which this machine reaches ``host``; its name where that cannot be told.

    Nothing is sent: to connect by UDP only asks the kernel for the route.
    """
    try:
        [(family, kind, protocol, _, target), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(target)
            found: str = probe.getsockname()[0]
    except OSError:
        return socket.gethostname()
    return f"[{found}]" if ":" in found else found
