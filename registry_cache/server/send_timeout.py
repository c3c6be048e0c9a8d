"""How long a client may read nothing of what is sent to it, and the end of those that take longer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import gevent

from registry_cache.server.periodic import PeriodicLook

# How long a client may read nothing: else a thousand that are stopped would take every reader's place, at no cost to
# themselves. As long as nginx gives its own clients.
SEND_TIMEOUT_SECONDS = 60.0
# The same for nginx on a unix socket, which waits for its own clients: longer than ``send_timeout`` in what we print
# for it, or its slow clients would be cut here.
PROXY_SEND_TIMEOUT_SECONDS = 660.0
# How often a client is looked at within the shorter of them. If anything was read since, its time begins anew.
LOOKS = 6


class Connection(Protocol):
    """A client's connection: ``send_timeout`` in seconds, bytes that the client has not confirmed, and its end."""

    @property
    def send_timeout(self) -> float: ...

    def unread(self) -> int:
        """Raise OSError or ValueError if the connection is closed."""

    def end(self, unread: int) -> None: ...


class SendTimeouts:
    """Looks now and then at the connections that wait to send, and ends those of which nothing is read.

    One for all of them: a timer for each wait, and a look when it begins, were a tenth of what a stream costs.
    """

    def __init__(self, pause: Callable[[float], None] = gevent.sleep) -> None:
        # What was unread at the last look, None before the first, and at how many in a row it was no less.
        self._waiting: dict[Connection, tuple[int | None, int]] = {}
        self._looks = PeriodicLook(self._waiting, lambda: pause(SEND_TIMEOUT_SECONDS / LOOKS), self._look)

    def begin(self, connection: Connection) -> None:
        """Look at ``connection``, which is about to wait, until ``stop``."""
        self._waiting[connection] = None, 0
        self._looks.begin()

    def stop(self, connection: Connection) -> None:
        """Its wait is over."""
        del self._waiting[connection]

    def _look(self) -> None:
        for connection, (before, looks) in tuple(self._waiting.items()):
            try:
                left = connection.unread()
            except (OSError, ValueError):
                # Closed meanwhile: its wait is about to end, and the others still have to be looked at.
                continue
            # A slow client frees too little of the kernel's buffer for a write, and still it reads.
            looks = looks + 1 if before is not None and left >= before else 0
            self._waiting[connection] = left, looks
            if looks == round(LOOKS * connection.send_timeout / SEND_TIMEOUT_SECONDS):
                connection.end(left)


# All connections of this process.
timeouts = SendTimeouts()
