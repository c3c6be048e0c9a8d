"""Manifests that another node of the cluster has: fetched there, so that the registry counts one pull for all nodes."""

from __future__ import annotations

from registry_cache.cluster.errors import RedisAway
from registry_cache.oci import signed_manifest
from registry_cache.oci.digest import Digest
from registry_cache.policy.leader_election import Holder
from registry_cache.pull.cluster.nodes import Cluster
from registry_cache.pull.target import PullTarget
from registry_cache.runtime.log import Log
from registry_cache.upstream.client import ManifestBody
from registry_cache.upstream.peer import PeerFailed, PeerRefused, PeerSilent, ThingAtPeer

_log = Log(__name__)


class NearManifests:
    """Asks the node that is known to have a manifest; without a ``cluster`` there is none."""

    def __init__(self, cluster: Cluster | None = None) -> None:
        self._cluster = cluster

    def fetch(self, target: PullTarget, digest: Digest) -> ManifestBody | None:
        """Return the manifest, compared to its digest; None where no node gives it to this repository."""
        if self._cluster is None:
            return None
        wanted = ThingAtPeer("manifests", target.upstream.name, str(target.name.repository), str(digest))
        try:
            holder = _holder(self._cluster, digest)
            if holder is None or holder.node == self._cluster.leases.node:
                return None
            data, media_type = self._cluster.peers.get_manifest(holder.url, wanted)
        except (PeerFailed, PeerRefused, PeerSilent) as error:
            _log.debug("could not fetch a manifest from another node", digest=digest, error=error)
            return None
        if not signed_manifest.is_named(data, digest):
            _log.error("another node sent a wrong manifest", node=holder.node, digest=digest)
            return None
        return ManifestBody(data, media_type)

    def announce(self, digest: Digest) -> None:
        """Say that a manifest is here, which upstream has sent."""
        if self._cluster is not None:
            try:
                self._cluster.leases.announce(str(digest))
            except RedisAway:
                return


def _holder(cluster: Cluster, digest: Digest) -> Holder | None:
    """Return the node that has a manifest; while Redis is away the one that brings it for all. None for nobody."""
    try:
        return cluster.leases.holder(str(digest))
    except RedisAway:
        return cluster.placement.home(digest.hex)
