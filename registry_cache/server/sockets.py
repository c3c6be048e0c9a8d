"""A client's connection: how files leave by it, and what ends it."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import sys
import termios
from contextlib import nullcontext
from typing import IO, Any

import gevent
import gevent.ssl
from gevent import monkey, socket

from registry_cache.runtime.connection import Connection
from registry_cache.runtime.log import Log
from registry_cache.server import send_timeout
from registry_cache.server.gunicorn_internals import SendWaits
from registry_cache.server.send_slots import Slot

_log = Log(__name__)

# The kernel's own, which does not wait: gevent's would give others a turn.
_poll = monkey.get_original("select", "poll")

# Bytes a call of sendfile takes at most, after which others have their turn.
SEND_BLOCK = 2 * 1024 * 1024

# As many bytes as the kernel hands to a connection in one go.
_KERNEL_CHUNK = 64 * 1024

# What sendfile says of the file that it reads, and not of the client.
_UNREADABLE = {errno.EIO, errno.ESTALE, errno.EBADMSG, errno.EUCLEAN}


class ClientConnection(SendWaits):
    """What both kinds of sockets share: an end for clients that read nothing, and what the application may know."""

    __slots__ = ()

    # The client came by ``http.debug.addr``.
    debug = False
    # The client came by ``cluster.addr``.
    peers = False
    # A body may yield parts of files: ``sendfile`` is the kernel's.
    sends_parts = False
    # Where the client is; "" on a unix socket.
    client_address = ""
    # No byte of a request has come yet, nor was waited for where that is counted (``half_sent``).
    is_silent = False
    _end_reason: str | None = None

    def connection(self) -> Connection:
        """Return what the application may know of this connection."""
        return Connection(self.debug, self.sends_parts, lambda: self._end_reason, self.peers, self.has_left)

    def has_left(self: Any) -> bool:
        """Return whether the client has closed its side. Returns at once."""
        descriptor = self.fileno()
        if descriptor < 0:
            return True
        asked = _poll()
        asked.register(descriptor, select.POLLRDHUP)
        return bool(asked.poll(0))

    def unread(self: Any) -> int:
        """Return how many bytes of what was sent the client's machine has not confirmed. Raises OSError, ValueError."""
        return int.from_bytes(fcntl.ioctl(self.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    @property
    def is_behind_nginx(self: Any) -> bool:
        """Whether it is nginx that reads, for a client of its own."""
        return bool(self.family == socket.AF_UNIX)

    @property
    def send_timeout(self) -> float:
        """Seconds for which nothing may be read."""
        proxy, client = send_timeout.PROXY_SEND_TIMEOUT_SECONDS, send_timeout.SEND_TIMEOUT_SECONDS
        return proxy if self.is_behind_nginx else client

    def end(self: Any, unread: int) -> None:
        """End the wait to send by an error; ``unread`` is what the client has not taken."""
        _log.info("let a client go that reads nothing", seconds=self.send_timeout, unread=unread)
        self._end_reason = "the client reads nothing"
        # The one error that gunicorn takes for an end of the connection without a traceback.
        self.cancel_send(ConnectionResetError(errno.ECONNRESET, self._end_reason))

    def end_half_sent(self) -> None:
        """End the wait for a head by an error."""
        self.cancel_receive(ConnectionResetError(errno.ECONNRESET, "too many of this client's address send no request"))


class TlsSocket(ClientConnection, gevent.ssl.SSLSocket):
    """A client's connection by TLS."""

    # A plain one has sent something when it is served. Here that was the handshake.
    is_silent = True


class Socket(ClientConnection, socket.socket):
    """A plain connection, whose ``sendfile`` is the kernel's."""

    # Entered for each block of a file: behind nginx, one of ``SendSlots``.
    slot: Slot | nullcontext[None] = nullcontext()
    sends_parts = True

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> int:
        """Send ``count`` bytes of ``file`` from ``offset``; return how many the disk gave. Raises OSError."""
        if (count is not None and count <= _KERNEL_CHUNK) or self.is_behind_nginx:
            return self._send_blocks(file, offset, count)
        # Otherwise all that the kernel takes at once ends in a small packet: half as many again of them.
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, True)
        try:
            return self._send_blocks(file, offset, count)
        finally:
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, False)

    def _send_blocks(self, file: IO[bytes], offset: int, count: int | None) -> int:
        sent = 0
        # Our own bodies log what was really sent.
        count_sent = getattr(file, "count_sent", lambda _: None)
        while count is None or sent < count:
            block = SEND_BLOCK if count is None else min(SEND_BLOCK, count - sent)
            with self.slot:
                try:
                    done = os.sendfile(self.fileno(), file.fileno(), offset + sent, block)
                except BlockingIOError:
                    self.wait_to_send()
                    continue
                except OSError as error:
                    if error.errno not in _UNREADABLE:
                        raise
                    break
                if done == 0:
                    break
                sent += done
                count_sent(done)
                if done < block:
                    # The kernel's buffer is full, as a second call would only say; or the file ends, and it says so.
                    self.wait_to_send()
            if done == block:
                gevent.sleep(0)
        return sent
