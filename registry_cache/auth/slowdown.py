"""How long somebody waits for the answer that a password was wrong: longer each time, by the address it came from.

Only that answer waits. Whoever has the right password is not held up by a neighbour who guesses at one: all clients
behind one proxy have one address.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from threading import Lock

from cachetools import TTLCache

# Nobody notices the first; from the sixth in ten minutes on each takes longer than anyone likes to try passwords at.
FIRST_SECONDS = 0.1
MAX_SECONDS = 2.0
FORGET_SECONDS = 600.0
# Beyond that the addresses that failed longest ago start anew; they are a flood, and the bound on logins holds them.
_ADDRESSES = 10_000


class Slowdown:
    """Counts failures; takes no time itself. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures: TTLCache[str, int] = TTLCache(_ADDRESSES, FORGET_SECONDS, timer=clock)
        self._lock = Lock()

    def failed(self, address: str | None) -> float:
        """Count one more failure of ``address``; return the seconds that its answer should wait."""
        who = network(address)
        with self._lock:
            count = self._failures.get(who, 0) + 1
            self._failures[who] = count
        # Before the power gets too large for a float.
        doublings = min(count - 1, 16)
        return min(FIRST_SECONDS * 2.0**doublings, MAX_SECONDS)


def network(address: str | None) -> str:
    """Return what one client has: an IPv4 address, or a /64 of IPv6. A socket's peer has no address."""
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return ""
    if parsed.version == 4:
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.ip_network((parsed, 64), strict=False))
