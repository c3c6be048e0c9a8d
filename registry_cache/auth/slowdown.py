"""Delay the answer to a wrong password, longer each time: by the address that it came from, and by the user's name.

The name as well, or whoever has many addresses could try many passwords of one user. Only that answer waits. A right
password is not held up by a neighbour who guesses: all clients behind one proxy have one address.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from cachetools import TTLCache

from registry_cache.runtime.networks import network

# Nobody notices the first delay; from the sixth wrong password in ten minutes on, guessing is slow.
FIRST_SECONDS = 0.1
MAX_SECONDS = 2.0
FORGET_SECONDS = 600.0
# With more addresses, or names, those that failed longest ago are forgotten; the bound on logins holds such a flood.
_MOST_COUNTED = 10_000


class Slowdown:
    """Counts failures; does not sleep itself. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._addresses: TTLCache[str, int] = TTLCache(_MOST_COUNTED, FORGET_SECONDS, timer=clock)
        self._users: TTLCache[str, int] = TTLCache(_MOST_COUNTED, FORGET_SECONDS, timer=clock)
        self._lock = Lock()

    def failed(self, address: str | None, user: str | None = None) -> float:
        """Count one more failure of ``address`` and of ``user``; return by how many seconds to delay its answer."""
        with self._lock:
            count = _count(self._addresses, network(address))
            if user is not None:
                count = max(count, _count(self._users, user))
        # Bounded, or the power would get too large for a float.
        doublings = min(count - 1, 16)
        return min(FIRST_SECONDS * 2.0**doublings, MAX_SECONDS)

    def failures(self, address: str | None) -> int:
        """Return how many failures of ``address`` are remembered."""
        with self._lock:
            return self._addresses.get(network(address), 0)


def _count(failures: TTLCache[str, int], who: str) -> int:
    failures[who] = count = failures.get(who, 0) + 1
    return count
