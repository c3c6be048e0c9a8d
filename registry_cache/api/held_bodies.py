"""How many bytes of lists a worker holds at once, for clients that may read them slowly or not at all.

A blob and a large manifest are sent from their files. A list has none: it is made for its client, and held until the
last byte of it is sent, for a client that reads nothing for a minute.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

from flask import Response

from registry_cache.errors import TooManyRequests
from registry_cache.runtime.networks import network

# Bytes up to which a list is sent as it is: some thousand tags. Three thousand clients that read nothing hold 48 MB.
SMALL_SIZE = 16 * 1024
# Of larger ones, in all and for one client's address: lists of 8 MiB for four, of Docker Hub's longest for 16.
MAX_HELD = 32 * 1024 * 1024
MAX_PER_CLIENT = 16 * 1024 * 1024
# Whoever finds no room waits for as long as an answer may take, and holds a list meanwhile: so few of them.
MAX_WAITING = 2
WAIT_SECONDS = 8.0
# Sent at a time: the kernel's buffer holds some of these, and what it has not taken is copied.
_PIECE = 64 * 1024
# After so many bytes others have a turn: where the client reads as fast as we send, no send waits.
_TURN_SIZE = 1024 * 1024


class HeldBodies:
    """The room for large lists of one process. Safe to share between threads."""

    def __init__(self, wait_seconds: float = WAIT_SECONDS) -> None:
        self._wait_seconds = wait_seconds
        self._changed = threading.Condition()
        self._held = Counter[str]()
        self._waiting = 0

    def hold(self, response: Response, address: str | None) -> Response:
        """Return ``response``, whose body is whole, with room for it until it is sent. Raises TooManyRequests.

        ``address`` is the client's; what comes by a unix socket without one is bounded in all alone.
        """
        data = response.get_data()
        if len(data) > SMALL_SIZE:
            client, size = network(address), len(data)
            if not self._take(client, size):
                # An error remembers this frame, and is kept for longer than the request.
                data = b""
                response.set_data(data)
                raise TooManyRequests("too many long lists are being sent; try again", retry_after=1)
            # Encoding a list of megabytes took a while, and nobody else had a turn.
            time.sleep(0)
            response.call_on_close(lambda: self._give_back(client, size))
            response.response = _pieces(data)
            response.content_length = size
        return response

    def _take(self, client: str, size: int) -> bool:
        with self._changed:
            has_room = self._has_room(client, size) or self._wait(client, size)
            if has_room:
                self._held[client] += size
            return has_room

    def _wait(self, client: str, size: int) -> bool:
        if self._waiting >= MAX_WAITING:
            return False
        self._waiting += 1
        try:
            return self._changed.wait_for(lambda: self._has_room(client, size), self._wait_seconds)
        finally:
            self._waiting -= 1

    def _has_room(self, client: str, size: int) -> bool:
        # One that is larger than the room gets it when it is alone.
        mine, all_of_it = self._held[client], self._held.total()
        return (not all_of_it or all_of_it + size <= MAX_HELD) and (
            not client or not mine or mine + size <= MAX_PER_CLIENT
        )

    def _give_back(self, client: str, size: int) -> None:
        with self._changed:
            self._held[client] -= size
            # Addresses of clients would pile up.
            self._held = +self._held
            self._changed.notify_all()


def _pieces(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), _PIECE):
        if at % _TURN_SIZE == 0:
            time.sleep(0)
        yield data[at : at + _PIECE]
