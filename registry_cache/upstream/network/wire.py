"""Read the heads of responses, and the lines inside bodies, within bounds.

http.client reads 100 Continue, and trailers, for as long as they come. Where they come faster than they are read, it
never waits, so under gevent nothing else in the process would run any more.
"""

from __future__ import annotations

import http.client
import io
import socket
import sys
import time
from typing import Any

from registry_cache.runtime.dependency_check import Internal, check

# For all lines of a head, whatever comes before its status; the longest known, with a signed address, are under 16 KiB.
MAX_HEAD_SIZE = 64 * 1024
# http.client takes 100 headers.
MAX_HEAD_LINES = 128
# From the first byte of a head to its last. Nobody waits for one any longer (ANSWER_TIMEOUT_SECONDS), but the thread
# that reads it, and its connection, would.
HEAD_TIMEOUT_SECONDS = 10.0
# Of what comes, lines may be MAX_HEAD_SIZE and so many times the bytes of a body. Chunks of a byte have lines of three,
# and what a line says besides a chunk's length is nothing that anybody reads (RFC 9112 §7.1.1).
MAX_LINES_SHARE = 16
# Bytes of lines after which others have their turn: where more is there already, no read waits.
_TURN_SIZE = 8 * 1024


class EndlessHead(http.client.HTTPException):
    """A head, or what follows a body, that is longer than any that makes sense."""


class EndlessBody(http.client.HTTPException):
    """A body that is said to be longer than any that can be."""


class _Bytes(io.RawIOBase):
    """What comes out of a socket's unbuffered file ``raw``. ``is_line``: a line is being read, which has its time.

    ``received``: bytes of all kinds so far.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self._began: float | None = None
        self.is_line = False
        self.received = 0

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def readinto(self, buffer: Any) -> int | None:
        size = self._raw.readinto(buffer)
        self.received += size or 0
        if self.is_line:
            now = time.monotonic()
            self._began = self._began or now
            if now - self._began > HEAD_TIMEOUT_SECONDS:
                raise TimeoutError("read timed out: a head takes too long")
        return size

    def restart(self) -> None:
        self._began = None

    def close(self) -> None:
        self._raw.close()
        super().close()


class BoundedReader(io.BufferedReader):
    """Bounds lines that follow each other, in number, bytes and time: a head, or trailers.

    The length of a chunk is a line as well, but is always followed by bytes. All lines together are bounded by these.
    ``is_head``: what is read is a head, which an end without its last line makes none.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        self._bytes = _Bytes(raw)
        super().__init__(self._bytes)
        self.is_head = False
        self._lines = self._size = self._all = self._since_turn = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        self._bytes.is_line = True
        try:
            line = super().readline(MAX_HEAD_SIZE + 1 if size is None or size < 0 else min(size, MAX_HEAD_SIZE + 1))
        finally:
            self._bytes.is_line = False
        if self.is_head and not line.endswith(b"\n") and len(line) <= MAX_HEAD_SIZE:
            # http.client would take what there is of the head for the whole.
            raise http.client.RemoteDisconnected("the connection ended before the head of the answer did")
        self._lines += 1
        self._size += len(line)
        if self._lines > MAX_HEAD_LINES or self._size > MAX_HEAD_SIZE:
            raise EndlessHead(f"a head of more than {MAX_HEAD_LINES} lines or {MAX_HEAD_SIZE // 1024} KiB")
        self._bound_all(len(line))
        return line

    def _bound_all(self, size: int) -> None:
        self._all += size
        if self._all > MAX_HEAD_SIZE + MAX_LINES_SHARE * (self._bytes.received - self._all):
            raise EndlessHead("a body whose chunks are little beside their lines")
        self._since_turn += size
        if self._since_turn > _TURN_SIZE:
            self._since_turn = 0
            time.sleep(0)

    def read(self, size: int | None = -1, /) -> bytes:
        self._lines = self._size = 0
        self._bytes.restart()
        if size is not None and size > sys.maxsize:
            # Otherwise an OverflowError, which nobody expects of a connection.
            raise EndlessBody(f"a body, or a chunk of it, of {size} bytes")
        return super().read(size)


class _Source:
    """What http.client makes a file of."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, _mode: str) -> BoundedReader:
        return BoundedReader(self._sock.makefile("rb", buffering=0))


# http.client names none of them in its documentation.
_PURPOSE = "heads that have an end"
check(
    (
        Internal("http.client:HTTPResponse.begin", _PURPOSE, ("self",), "http.client:HTTPConnection.getresponse"),
        Internal("http.client:HTTPResponse.fp", _PURPOSE, None, "begin", instance=True),
        Internal("http.client:HTTPConnection.response_class", _PURPOSE, None, "getresponse"),
    )
)


class BoundedResponse(http.client.HTTPResponse):
    """A response whose head has an end. Interim ones (1xx) are skipped, all of them together part of that head."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(_Source(sock), *arguments, **options)  # type: ignore[arg-type]

    def begin(self) -> None:
        reader: Any = self.fp
        reader.is_head = True
        super().begin()
        while 100 <= self.status < 200:
            # Taken for the answer, it would make the answer that of the next request on this connection.
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()
        reader.is_head = False
