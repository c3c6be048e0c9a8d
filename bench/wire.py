"""An HTTP/1.1 client at the lowest cost: the kernel counts and drops the bodies.

MSG_TRUNC never copies them, and with MSG_WAITALL a thread sleeps until a whole megabyte is there.
"""

import json
import re
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from bench.content import MANIFEST_TYPE

SILENCE_SECONDS = 300  # of a crowd's slowest
_PIECE = 1024 * 1024
# Nothing is ever written to it, so that a thousand threads may share it.
_BUFFER = bytearray(_PIECE)
_REALM = re.compile(r'realm="([^"]+)"')

# Is given each piece of a body.
Eat = Callable[[bytes], object]


@dataclass
class Answer:
    """``headers`` by names in small letters; ``size`` bytes of body came, and all of them were announced."""

    status: int
    headers: dict[str, str]
    size: int = 0


class Connection:
    """One socket that stays open. Whoever makes it closes it."""

    def __init__(self, host: str) -> None:
        address, _, port = host.partition(":")
        self._host = host
        self._socket = socket.create_connection((address, int(port)), timeout=SILENCE_SECONDS)
        # Blocking again, or MSG_WAITALL would not wait; the kernel keeps the time.
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", SILENCE_SECONDS, 0))

    def ask(self, method: str, path: str, headers: dict[str, str], eat: Eat | None = None) -> Answer:
        """One exchange; ``eat`` gets the body of a 200; any other body is dropped. Raises RuntimeError, OSError."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}", *(f"{k}: {v}" for k, v in headers.items())]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        head, rest = self._head()
        first, *found = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in found)
        answer = Answer(int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}, len(rest))
        left = 0 if method == "HEAD" else int(answer.headers["content-length"]) - len(rest)
        if answer.status != 200:
            eat = None
        if eat:
            eat(rest)
        got = self._hand_over(left, eat) if eat else self._drop(left)
        answer.size += got
        if got != left:
            raise RuntimeError(f"{path}: cut after {answer.size} bytes, {left - got} before its end")
        return answer

    def close(self) -> None:
        self._socket.close()

    def _head(self) -> tuple[bytes, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self._socket.recv(16 * 1024)
            if not piece:
                raise RuntimeError(f"{self._host} closed instead of answering")
            data += piece
        head, _, rest = data.partition(b"\r\n\r\n")
        return head, rest

    def _drop(self, length: int) -> int:
        done = 0
        while done < length:
            got = self._socket.recv_into(_BUFFER, min(_PIECE, length - done), socket.MSG_TRUNC | socket.MSG_WAITALL)
            if not got:
                break
            done += got
        return done

    def _hand_over(self, length: int, eat: Eat) -> int:
        done = 0
        while done < length and (piece := self._socket.recv(min(_PIECE, length - done))):
            eat(piece)
            done += len(piece)
        return done


@dataclass
class Agent:
    """One of a client's hands: a connection to each host. The ``token`` header is its client's."""

    url: str
    token: dict[str, str] = field(default_factory=dict)
    _open: dict[str, Connection] = field(default_factory=dict)

    def ask(self, path: str, method: str = "GET", eat: Eat | None = None, part: str = "") -> Answer:
        """Answer a challenge and follow one redirect, as the upstream itself asks. RuntimeError for all but 200.

        ``part``: what to ask for, such as ``0-99``; a 200 is an answer to that, too.
        """
        headers = {"Range": f"bytes={part}"} if part else {}
        answer = self._exchange(self.url, method, path, {"Accept": MANIFEST_TYPE, **headers, **self.token}, eat)
        if answer.status == 401:
            self._log_in(answer.headers["www-authenticate"])
            answer = self._exchange(self.url, method, path, {"Accept": MANIFEST_TYPE, **headers, **self.token}, eat)
        if answer.status == 307:
            where = answer.headers["location"]
            answer = self._exchange(where, method, urlsplit(where).path, headers, eat)
        if answer.status != 200 and not (part and answer.status == 206):
            raise RuntimeError(f"{method} {path}: {answer.status}")
        return answer

    def read(self, path: str) -> bytes:
        """The body."""
        pieces: list[bytes] = []
        self.ask(path, eat=pieces.append)
        return b"".join(pieces)

    def close(self) -> None:
        for each in self._open.values():
            each.close()

    def _log_in(self, challenge: str) -> None:
        realm = _REALM.search(challenge)
        assert realm is not None, challenge
        pieces: list[bytes] = []
        self._exchange(realm[1], "GET", urlsplit(realm[1]).path, {}, pieces.append)
        self.token["Authorization"] = f"Bearer {json.loads(b''.join(pieces))['token']}"

    def _exchange(self, url: str, method: str, path: str, headers: dict[str, str], eat: Eat | None) -> Answer:
        host = urlsplit(url).netloc
        if host not in self._open:
            self._open[host] = Connection(host)
        answer = self._open[host].ask(method, path, headers, eat)
        if answer.headers.get("connection") == "close":
            self._open.pop(host).close()
        return answer
