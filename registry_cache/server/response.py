"""Send an answer's head together with its body: gunicorn writes them by two calls.

That is two system calls, two turns of gevent and, on a real network, often two packets.
"""

from __future__ import annotations

import socket
from typing import Any


class HeadBuffer:
    """A client's connection that keeps an answer's first part, the head, until there is something to send it with."""

    __slots__ = ("_head", "_is_begun", "_sock")

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._head = b""
        self._is_begun = False

    def sendall(self, data: bytes) -> None:
        """Send ``data``, or keep it if it is the head. Raises OSError."""
        if not self._is_begun:
            self._is_begun, self._head = True, data
            return
        head, self._head = self._head, b""
        whole = head + data if head else data
        # gevent's own would ask the kernel each time how much it takes at once.
        sent = self._sock.send(whole)
        if sent < len(whole):
            self._sock.sendall(memoryview(whole)[sent:])

    def sendfile(self, file: Any, offset: int, count: int) -> Any:
        """Send ``count`` bytes of ``file`` from ``offset``. Raises OSError."""
        self.flush(socket.MSG_MORE)
        return self._sock.sendfile(file, offset=offset, count=count)

    def flush(self, flags: int = 0) -> None:
        """Send what is kept. Raises OSError."""
        head, self._head = self._head, b""
        if head:
            self._sock.sendall(head, flags)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)
