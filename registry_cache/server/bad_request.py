"""What a client reads whose bytes are no request, so that the application never sees them: an error like all others.

gunicorn would answer with a web page, which docker prints as "invalid character '<'".
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

# gunicorn's words hold what was sent; nobody reads a page of that.
_LONGEST = 300


def write_error(sock: Any, status: int, _reason: str, why: str) -> None:
    """Answer in place of ``gunicorn.util.write_error``. Raises OSError."""
    sock.setblocking(False)
    sock.sendall(answer(status, why))


def answer(status: int, why: str) -> bytes:
    """Return a whole response that closes the connection; ``why`` is for people, in any words."""
    phrase = HTTPStatus(status).phrase
    code = "UNSUPPORTED" if status < 500 else "UNKNOWN"
    body = json.dumps({"errors": [{"code": code, "message": (why or phrase)[:_LONGEST]}]}).encode()
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        "Docker-Distribution-Api-Version: registry/2.0\r\nX-Content-Type-Options: nosniff\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
