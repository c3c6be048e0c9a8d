"""Whom a node of a cluster asks for a range that it lacks: all ask one node, so that its bytes cross the line once.

That node asks the registry itself, and keeps the pieces as those of its own clients. Whatever goes wrong with it is a
reason to ask the registry from here.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.membership import times_as_rarely
from registry_cache.oci.digest import Digest
from registry_cache.policy.leader_election import Holder
from registry_cache.pull.cluster.nodes import Cluster
from registry_cache.pull.source import BlobSource, RangeResponse
from registry_cache.runtime.log import Log
from registry_cache.upstream.peer import PeerFailed, PeerRefused, PeerSilent, ThingAtPeer

# How long what is known of the nodes is good.
_LOOK_SECONDS = 5.0

_log = Log(__name__)


class NearRanges:
    """The ranges that this node asks others for."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._mutex = threading.Lock()
        self._looked_at = float("-inf")

    def source(self, digest: Digest, registry: BlobSource, *, for_peer: bool) -> BlobSource:
        """Return where ranges of a blob come from: the node to ask, or ``registry``.

        ``for_peer``: another node asks us for them, so the registry is asked. Of what it sends others are told.
        """
        came_near = False

        def ask(start: int, again: bool, stop: int | None = None) -> RangeResponse:
            nonlocal came_near
            # A range that broke off, or has no end, is for the registry, which cannot be gone while we are here.
            near = None if again or stop is None or for_peer else self._near(digest, registry, start, stop)
            came_near = came_near or near is not None
            body = near or registry.open(start, again, stop)
            if near is None:
                self._cluster.pieces.announce(registry.owner.upstream, digest)
            return body

        return replace(registry, open=ask, was_near=lambda: came_near or registry.was_near())

    def _near(self, digest: Digest, registry: BlobSource, start: int, stop: int) -> RangeResponse | None:
        node = self._node(digest, registry.owner.upstream)
        if node is None:
            return None
        blob = ThingAtPeer("blobs", registry.owner.upstream, str(registry.owner.repository), str(digest))
        try:
            return self._cluster.peers.open_blob(node.url, blob, start, stop)
        except PeerRefused as refusal:
            # It may refuse this repository alone.
            _log.debug("another node does not give a range", digest=digest, node=node.node, error=refusal)
        except (PeerFailed, PeerSilent) as failure:
            _log.info(
                "asking the registry for a range, and not another node", digest=digest, node=node.node, error=failure
            )
            self._cluster.placement.rest(node.url)
        return None

    def _node(self, digest: Digest, upstream: str) -> Holder | None:
        """Return the node that is to fetch ranges of a blob; None where that is us."""
        us, placement = self._cluster.leases.node, self._cluster.placement
        try:
            found = self._cluster.leases.look(str(digest), "")
            self._look()
        except RedisAway:
            return placement.home(digest.hex)
        holder, lease = found.holder, found.lease
        if holder and holder.node != us and not placement.is_resting(holder.url):
            return holder
        if lease and lease.upstream == upstream and not lease.is_overdue and not placement.is_resting(lease.url):
            # Its download takes what it fetches for others.
            return None if lease.node == us else Holder(lease.node, lease.url)
        return placement.home(digest.hex, knows_redis=True)

    def _look(self) -> None:
        with self._mutex:
            seconds = _LOOK_SECONDS * times_as_rarely(len(self._cluster.membership.known()))
            if time.monotonic() - self._looked_at > seconds:
                self._cluster.membership.remember()
                self._looked_at = time.monotonic()
