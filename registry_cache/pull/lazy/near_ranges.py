"""Whom a node of a cluster asks for a range that it lacks: all ask one node, so that its bytes cross the line once.

That node asks the registry itself, and keeps the pieces as those of its own clients. Whatever goes wrong with it is a
reason to ask the registry from here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.membership import MEMBER_SECONDS, ClusterNode
from registry_cache.oci.digest import Digest
from registry_cache.policy.placement import home_of
from registry_cache.pull.near import Cluster
from registry_cache.pull.source import BlobSource, RangeResponse
from registry_cache.runtime.log import Log
from registry_cache.upstream.peer import PeerFailed, PeerRefused, PeerSilent, ThingAtPeer

# How long what is known of the nodes is good, and a node that failed is asked for no range.
_LOOK_SECONDS, _REST_SECONDS = 5.0, 5.0

_log = Log(__name__)


class NearRanges:
    """The ranges that this node asks others for. ``clock`` is time.time, by which ``ClusterNode.seen_at`` is told."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float] = time.time) -> None:
        self._cluster = cluster
        self._clock = clock
        self._mutex = threading.Lock()
        self._nodes: list[ClusterNode] = []
        self._looked_at = 0.0
        self._resting: dict[str, float] = {}

    def source(self, digest: Digest, registry: BlobSource) -> BlobSource:
        """Return where ranges of a blob come from: the node to ask, or ``registry``."""
        came_near = False

        def ask(start: int, again: bool, stop: int | None = None) -> RangeResponse:
            nonlocal came_near
            # A range that broke off, or has no end, is for the registry, which cannot be gone while we are here.
            near = None if again or stop is None else self._near(digest, registry, start, stop)
            came_near = came_near or near is not None
            return near or registry.open(start, again, stop)

        return replace(registry, open=ask, was_near=lambda: came_near or registry.was_near())

    def _near(self, digest: Digest, registry: BlobSource, start: int, stop: int) -> RangeResponse | None:
        try:
            found = self._node(digest, registry.upstream)
        except RedisAway:
            home = self._cluster.placement.home(digest.hex, set())
            found = (home.node, home.url) if home else None
        if found is None:
            return None
        node, url = found
        blob = ThingAtPeer("blobs", registry.upstream, str(registry.repository), str(digest))
        try:
            return self._cluster.peers.open_blob(url, blob, start, stop)
        except PeerRefused as refusal:
            # It may refuse this repository alone.
            _log.debug("another node does not give a range", digest=digest, node=node, error=refusal)
        except (PeerFailed, PeerSilent) as failure:
            _log.info("asking the registry for a range, and not another node", digest=digest, node=node, error=failure)
            self._resting[node] = self._clock() + _REST_SECONDS
            self._cluster.placement.rest(url)
        return None

    def _node(self, digest: Digest, upstream: str) -> tuple[str, str] | None:
        """Return the node that is to fetch ranges of a blob, and its URL; None where that is us. Raises RedisAway."""
        leases, now = self._cluster.leases, self._clock()
        found = leases.look(str(digest), "")
        if found.holder and found.holder.node != leases.node and not self._rests(found.holder.node, now):
            return found.holder.node, found.holder.url
        lease = found.lease
        if lease and lease.upstream == upstream and not lease.is_overdue and not self._rests(lease.node, now):
            # Its download takes what it fetches for others.
            return None if lease.node == leases.node else (lease.node, lease.url)
        nodes = {each.name: each.url for each in self._seen(now) if not self._rests(each.name, now)}
        home = home_of(digest.hex, nodes)
        return None if home is None or home == leases.node else (home, nodes[home])

    def _seen(self, now: float) -> list[ClusterNode]:
        with self._mutex:
            if not 0 <= now - self._looked_at < _LOOK_SECONDS:
                self._nodes, self._looked_at = self._cluster.membership.look()[0], now
            return [each for each in self._nodes if now - each.seen_at < MEMBER_SECONDS]

    def _rests(self, node: str, now: float) -> bool:
        return now < self._resting.get(node, 0.0)
