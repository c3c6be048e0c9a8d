"""Answers that leave in one piece: gunicorn writes a head and a body by two calls, which is two system calls, two turns
of gevent and, on a real network, often two packets.
"""

from __future__ import annotations

import socket
from typing import Any

from gunicorn.http import wsgi


class _Joining:
    """A client's connection that keeps an answer's first part, the head, until there is something to send it with."""

    __slots__ = ("_head", "_seen", "_sock")

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._head = b""
        self._seen = False

    def sendall(self, data: bytes) -> None:
        """Send ``data``, or keep it if it is the head. Raises OSError."""
        if not self._seen:
            self._seen, self._head = True, data
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


class Response(wsgi.Response):
    """gunicorn's, over such a connection."""

    def __init__(self, req: Any, sock: Any, cfg: Any) -> None:
        super().__init__(req, _Joining(sock), cfg)

    def close(self) -> None:
        """Called by gunicorn when the application has no more to say."""
        super().close()
        self.sock.flush()

    def write(self, arg: Any) -> None:
        """Called by gunicorn for each piece of a body: bytes, or an ``api.blobs.PartBody``. Raises OSError."""
        if isinstance(arg, bytes):
            super().write(arg)
            return
        self.send_headers()
        # Only bodies of a known length come in parts.
        length = min(arg.length, self.response_length - self.sent)
        sent = self.sock.sendfile(arg, arg.offset, length)
        self.sent += sent
        if sent < length:
            arg.fell_short(sent)
