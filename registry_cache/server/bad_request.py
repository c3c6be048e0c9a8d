"""Answer a client whose bytes are no request, so that the application never sees them, with an error of the API.

gunicorn would answer with a web page, which docker prints as "invalid character '<'".
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import gevent
from gevent import socket

# For a client that was refused to read why, and to leave.
LINGER_SECONDS = 2.0
# Bytes that are read at once to be dropped.
_DROPPED_BYTES = 64 * 1024
# gunicorn's words hold what was sent; nobody reads a page of that.
_LONGEST_MESSAGE = 300


def refuse_plainly(client: Any, text: str) -> None:
    """Answer in plain HTTP, which a client that sent the wrong kind of bytes can read or shows. Raises OSError."""
    client.sendall(answer(400, text))
    linger(client)


def linger(client: Any) -> None:
    """Let the client read its answer: over bytes that nobody read the kernel resets the connection, and it may be lost.

    Raises OSError.
    """
    # Past TLS, which is not on; the names of the class below it.
    socket.socket.shutdown(client, socket.SHUT_WR)
    with gevent.Timeout(LINGER_SECONDS, False):
        while socket.socket.recv(client, _DROPPED_BYTES):
            # A client that sends as fast as we read would never let others have a turn.
            gevent.sleep(0)


def answer(status: int, why: str) -> bytes:
    """Return a whole response that closes the connection; ``why`` is for people, in any words."""
    phrase = HTTPStatus(status).phrase
    code = "UNSUPPORTED" if status < 500 else "UNKNOWN"
    body = json.dumps({"errors": [{"code": code, "message": (why or phrase)[:_LONGEST_MESSAGE]}]}).encode()
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        "Docker-Distribution-Api-Version: registry/2.0\r\nX-Content-Type-Options: nosniff\r\n"
        "Content-Security-Policy: default-src 'none'; sandbox\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
