"""Ports for programs that cannot take over a socket, and that a test stops and starts again."""

import contextlib
import random
import socket

# Below what the kernel hands out to whoever asks for any port: other tests do so all the time.
_PORTS = range(20000, 32000)


def free_ports(count: int) -> list[int]:
    """So many ports that nobody listens on just now."""
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            port = random.choice(_PORTS)
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                found.append(port)
        return found
