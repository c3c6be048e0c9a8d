"""Ports for programs that cannot take over a socket, and that a test stops and starts again."""

import contextlib
import fcntl
import functools
import os
import random
import socket
import tempfile
from pathlib import Path

# Below what the kernel hands out to whoever asks for any port: other tests do so all the time.
_PORTS = range(20000, 32000)

_taken: set[int] = set()


def free_ports(count: int) -> list[int]:
    """So many ports that nobody listens on just now, and that no other test of this machine gets.

    They are this process' until its end: a program may take half a minute from here until it listens, and is away in
    between while a test has it stopped.
    """
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            port = random.choice(_PORTS)
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                if port not in _taken:
                    # Byte N of the file stands for port N; a lock of this kind belongs to the process and ends with it.
                    fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
                    _taken.add(port)
                    found.append(port)
        return found


@functools.cache
def _claims() -> int:
    """The descriptor of a file of all tests; closing it would give up every port."""
    path = Path(tempfile.gettempdir()) / f"registry-cache-test-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
