"""Which node has fetched ranges of a blob from the registry: a download of the whole begins there, with its pieces.

rc:1:pieces:<hash of upstream and digest>    sealed: the node that fetched some last; HAVE_SECONDS
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from cachetools import LRUCache

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.leases import HAVE_SECONDS, is_recent
from registry_cache.cluster.notes import Notes
from registry_cache.oci.digest import Digest
from registry_cache.policy.leader_election import Holder

# A node announces a blob again when it fetches ranges of it this much later: another may have done so in between.
_SAY_SECONDS = 60.0
# How many blobs we remember having announced; beyond that the oldest are forgotten.
_MOST_REMEMBERED = 1000


class NearPieces:
    """The pieces of all nodes, as ``node`` at ``url`` knows of them; ``clock``: the one on which all agree."""

    def __init__(self, notes: Notes, node: str, url: str, clock: Callable[[], float]) -> None:
        self._notes = notes
        self._us = Holder(node, url)
        self._clock = clock
        self._mutex = threading.Lock()
        self._said: LRUCache[str, float] = LRUCache(_MOST_REMEMBERED)

    def announce(self, upstream: str, digest: Digest) -> None:
        """Say that this node has pieces which ``upstream`` has sent."""
        name, now = f"{upstream} {digest}", self._clock()
        with self._mutex:
            if 0 <= now - self._said.get(name, float("-inf")) < _SAY_SECONDS:
                return
            self._said[name] = now
        with contextlib.suppress(RedisAway):
            self._notes.put(name, {"node": self._us.node, "url": self._us.url, "at": now}, HAVE_SECONDS)

    def holder(self, upstream: str, digest: Digest) -> Holder | None:
        """Return another node that has pieces; None for nobody. Raises RedisAway."""
        found = self._notes.get(f"{upstream} {digest}")
        if not found or not is_recent(found, self._clock(), HAVE_SECONDS) or found.get("node") == self._us.node:
            return None
        return Holder(str(found.get("node")), str(found.get("url")))
