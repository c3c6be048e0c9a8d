"""Nodes in this process, each with a store of its own, that share a real Redis and reach each other without sockets."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.keeper import LeaseKeeper
from registry_cache.cluster.leases import Leases
from registry_cache.cluster.membership import Membership
from registry_cache.cluster.notes import Notes
from registry_cache.cluster.questions import Questions
from registry_cache.cluster.redis_address import Command, RedisAddress
from registry_cache.cluster.redis_client import RedisClient
from registry_cache.errors import RegistryError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Reference, Repository
from registry_cache.pull.manifest import ManifestAnswer, ManifestPull
from registry_cache.pull.near import Cluster
from registry_cache.pull.near_pins import NearPins
from registry_cache.pull.single_flight import MachineFlights
from registry_cache.pull.target import PullTarget
from registry_cache.runtime.seals import Seals
from registry_cache.store.pins import Pins
from registry_cache.upstream.peer import PeerFailed, PeerRefused, Peers, ThingAtPeer
from tests.harness.pull_rig import ALWAYS_ASK
from tests.harness.redis_server import RedisServer
from tests.harness.store_rig import APP, LATEST, open_store
from tests.harness.upstream_rig import connect

SEALS = Seals("the nodes know it")


class SharedRedis:
    """Redis as one node reaches it. `asked`: how often it was; `is_away`: it is, for this node. Close it."""

    def __init__(self, server: RedisServer) -> None:
        self._client = RedisClient(RedisAddress(host="127.0.0.1", port=server.port))
        self.asked = 0
        self.is_away = False

    def ask(self, *commands: Command) -> list[Any]:
        self.asked += 1
        if self.is_away:
            raise RedisAway("away, for this node")
        return self._client.ask(*commands)

    def close(self) -> None:
        self._client.close()

    def questions(self, node: str) -> Questions:
        return Questions(self, SEALS, node)


class NearNode:
    """A node called `name`, which finds others by their names in `nodes`; its clock is ahead of ours by `ahead`."""

    def __init__(self, name: str, folder: Path, server: RedisServer, upstream_url: str, nodes: "NearNodes") -> None:
        self.name = name
        self.redis = SharedRedis(server)
        self.ahead = timedelta(0)
        self.store = open_store(folder)
        self.registry = connect(upstream_url)
        self.flights = MachineFlights(self.store.layout)
        self.pins = Pins(self.store.layout)
        self.cluster = self._cluster(PeersHere(name, nodes))
        self.manifests = ManifestPull(self.store.records, self.flights, self.now, pins=self.pins, cluster=self.cluster)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def get(self, reference: Reference = LATEST, repository: Repository = APP, **policy: object) -> ManifestAnswer:
        """What a client gets for a manifest."""
        target = PullTarget(self.registry, repository, replace(ALWAYS_ASK, **policy))  # type: ignore[arg-type]
        return self.manifests.get(target, reference)

    def _cluster(self, peers: Peers) -> Cluster:
        leases = Leases(self.redis, SEALS, self.name, self.name)
        return Cluster(
            leases,
            LeaseKeeper(leases),
            peers,
            Membership(self.redis, SEALS, self.name, self.name),
            self.redis.questions(self.name),
            Notes(self.redis, SEALS, "limits"),
            Notes(self.redis, SEALS, "tag"),
            NearPins(Notes(self.redis, SEALS, "pins"), self.pins),
        )


NearNodes = dict[str, NearNode]


class PeersHere(Peers):
    """The other nodes as the one called `node` reaches them: a node's URL is its name."""

    def __init__(self, node: str, nodes: NearNodes) -> None:
        super().__init__(node, SEALS)
        self._nodes = nodes

    def get_manifest(self, url: str, manifest: ThingAtPeer) -> tuple[bytes, str]:
        node = self._nodes.get(url)
        if node is None:
            raise PeerFailed(f"there is no node called {url}")
        target = PullTarget(node.registry, Repository.parse(manifest.repository))
        try:
            answer = node.manifests.get_held(target, Digest.parse(manifest.digest))
        except RegistryError as error:
            raise PeerRefused(error.status) from error
        return answer.data or b"", answer.media_type


def three_nodes(folder: Path, server: RedisServer, upstream_url: str) -> list[NearNode]:
    """Nodes that know each other."""
    nodes: NearNodes = {}
    for name in ("one", "two", "three"):
        nodes[name] = NearNode(name, folder / name, server, upstream_url, nodes)
    return list(nodes.values())
