"""Nodes in this process, each with a store of its own, that share a real Redis and reach each other without sockets."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.keeper import LeaseKeeper
from registry_cache.cluster.leases import Leases
from registry_cache.cluster.membership import Membership
from registry_cache.cluster.notes import Notes
from registry_cache.cluster.questions import Questions
from registry_cache.cluster.redis_address import Command, RedisAddress
from registry_cache.cluster.redis_client import RedisClient
from registry_cache.errors import RegistryError, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Reference, Repository
from registry_cache.pull.access import Access
from registry_cache.pull.blob import BlobAnswer, BlobPull
from registry_cache.pull.blob_body import Cut, PulledBlob
from registry_cache.pull.cluster.download import NearBlob
from registry_cache.pull.cluster.nodes import Cluster
from registry_cache.pull.cluster.peer_answers import PeerAnswers
from registry_cache.pull.cluster.pieces import NearPieces
from registry_cache.pull.cluster.placed_questions import PlacedQuestions
from registry_cache.pull.cluster.placement import Placement
from registry_cache.pull.cluster.questions import NearQuestions
from registry_cache.pull.cluster.ranges import NearRanges
from registry_cache.pull.cluster.reach import NearReach
from registry_cache.pull.images.manifest_lookup import Layers
from registry_cache.pull.lazy.piece_flights import PieceFlights
from registry_cache.pull.lazy.pull import LazyPull
from registry_cache.pull.listing import Listing
from registry_cache.pull.manifest import ManifestAnswer, ManifestPull
from registry_cache.pull.reader_slots import ReaderSlots
from registry_cache.pull.single_flight import MachineFlights
from registry_cache.pull.target import PullTarget
from registry_cache.pull.transfer.transfer import TransferParts
from registry_cache.pull.transfer.transfers import Transfers
from registry_cache.runtime import request_context
from registry_cache.runtime.peer_question import SharedQuestion
from registry_cache.runtime.seals import Seals
from registry_cache.runtime.single_flight import Flight, SingleFlight
from registry_cache.store.piece_files import Pieces
from registry_cache.store.pins import Pins
from registry_cache.upstream.peer import (
    PeerBody,
    PeerFailed,
    PeerRefused,
    Peers,
    PeerSilent,
    PeerUnreachable,
    ThingAtPeer,
)
from tests.harness.pull_rig import ALWAYS_ASK, chunks
from tests.harness.redis_server import RedisServer
from tests.harness.store_rig import APP, LATEST, open_store
from tests.harness.targets import target_at
from tests.harness.upstream_rig import connect
from tests.harness.waiting import eventually

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


class JoinedFlights(SingleFlight[str, Any]):
    """The flights of a node; `joined`: their keys, once for each who joined."""

    def __init__(self) -> None:
        super().__init__()
        self.joined: list[str] = []

    def join(self, key: str) -> tuple[Flight[Any], bool]:
        found = super().join(key)
        self.joined.append(key)
        return found


class NearNode:
    """A node called `name`, which finds others by their names in `nodes`; its clock is ahead of ours by `ahead`.

    `is_lost`: no other node reaches it, nor it any other. `hidden_from`: nodes that do not, though it runs. Close it.
    """

    def __init__(
        self, name: str, folder: Path, server: RedisServer, upstream_url: str, nodes: "NearNodes", standby: int = 0
    ) -> None:
        self.name = name
        self.redis = SharedRedis(server)
        self.ahead = timedelta(0)
        self.is_lost = False
        self.hidden_from: set[str] = set()
        self.store = open_store(folder)
        self.registry = connect(upstream_url)
        self.registry.lazy = "hold"
        flights = MachineFlights(self.store.layout)
        flights._here = self.flights = JoinedFlights()
        self.pins = Pins(self.store.layout)
        self.cluster = self._cluster(PeersHere(name, nodes), standby)
        pieces, share = Pieces(self.store.layout), partial(NearBlob, self.cluster)
        self.transfers = Transfers(TransferParts(self.store.blobs, self.store.partials, share=share), pieces)
        layers = Layers(self.store.records)
        placed = PlacedQuestions(self.cluster.placement, self.cluster.peers, flights)
        near = NearQuestions(self.cluster.questions, placed)
        access_of = partial(Access, flights=flights, near=near)
        blobs, slots, ranges = self.store.blobs, ReaderSlots(100), NearRanges(self.cluster)
        lazy = LazyPull(blobs, pieces, PieceFlights(), self.transfers, slots, layers, access_of, near=ranges)
        self.blobs = BlobPull(blobs, self.transfers, slots, layers, access_of, lazy)
        self.manifests = ManifestPull(
            self.store.records, flights, self.now, pins=self.pins, cluster=self.cluster, near=near
        )
        self.listing = Listing(self.store.records, flights, self.manifests, near)
        self.answers = PeerAnswers(self.manifests, self.listing, near)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def get(self, reference: Reference = LATEST, repository: Repository = APP, **policy: object) -> ManifestAnswer:
        """What a client gets for a manifest."""
        target = target_at(self.registry, repository, replace(ALWAYS_ASK, **policy))  # type: ignore[arg-type]
        return self.manifests.get(target, reference)

    def blob(self, digest: Digest, repository: Repository = APP) -> bytes:
        """What a client gets for a blob. Raises Cut, and what refuses it."""
        answer = self.blobs.get(target_at(self.registry, repository), digest)
        with closing(answer.body) as body:
            return b"".join(chunks(body, 0, body.size))

    def part(self, digest: Digest, start: int, stop: int) -> bytes:
        """What a client gets for a range of a blob."""
        answer = self.blobs.get(target_at(self.registry, APP), digest, range_header=f"bytes={start}-{stop - 1}")
        with closing(answer.body) as body:
            return b"".join(chunks(body, start, stop))

    def wait_for_some(self, digest: Digest) -> None:
        """Return when some of the blob is here."""

        def has_some() -> bool:
            partial = self.store.partials.open(digest)
            return bool(partial and partial.size())

        eventually(has_some)

    def close(self) -> None:
        """Return when no transfer is under way, and no connection open."""
        eventually(lambda: not self.transfers._running)
        self.redis.close()

    def _cluster(self, peers: Peers, standby: int) -> Cluster:
        leases = Leases(self.redis, SEALS, self.name, self.name)

        def now() -> float:
            return self.now().timestamp()

        membership = Membership(self.redis, SEALS, self.name, self.name, now=now, steady=now)
        placement = Placement(self.name, membership)
        self.reach = NearReach(self.name, peers, membership, placement)
        return Cluster(
            leases,
            LeaseKeeper(leases),
            peers,
            membership,
            self.redis.questions(self.name),
            Notes(self.redis, SEALS, "limits"),
            Notes(self.redis, SEALS, "tag"),
            NearPieces(Notes(self.redis, SEALS, "pieces"), self.name, self.name, membership.clock),
            placement,
            self.reach,
            standby,
        )


NearNodes = dict[str, NearNode]

# Who asks for what is yet to be fetched waits so long for its head.
_HEAD_SECONDS = 4.0


class BodyHere:
    """A blob as another node gives it, for as long as that is `reached`; as PeerBody."""

    def __init__(self, body: PulledBlob, start: int, stop: int | None, reached: Callable[[], bool]) -> None:
        self.start, self.size, self.stop = start, body.size, stop
        self.read_at = time.monotonic()
        self._body = body
        self._reached = reached
        self._is_aborted = False

    def __iter__(self) -> Iterator[bytes]:
        # What it waits for on the other node ends as where a connection is closed.
        request_context.note_client(lambda: self._is_aborted)
        try:
            for chunk in chunks(self._body, self.start, self.stop or self._body.size):
                if not self._reached():
                    raise UpstreamUnavailable("the connection broke")
                self.read_at = time.monotonic()
                yield chunk
        except Cut as cut:
            raise UpstreamUnavailable("it was cut") from cut
        finally:
            request_context.note_client(lambda: False)

    def abort(self) -> None:
        self._reached = lambda: False
        self._is_aborted = True

    def close(self) -> None:
        self._body.close()


def in_time(answer: Callable[[], BlobAnswer]) -> BlobAnswer:
    """Return what a peer answers, or raise what it raises. Raises PeerSilent as one that asks it by a socket does."""
    has_left = threading.Event()

    asked: Future[BlobAnswer] = Future()

    def run() -> None:
        request_context.note_client(has_left.is_set)
        try:
            asked.set_result(answer())
        except BaseException as error:  # noqa: BLE001 — raised in the thread that asked
            asked.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    if not wait([asked], _HEAD_SECONDS).done:
        has_left.set()
        raise PeerSilent("no head")
    return asked.result()


class PeersHere(Peers):
    """The other nodes as the one called `node` reaches them: a node's URL is its name."""

    def __init__(self, node: str, nodes: NearNodes) -> None:
        super().__init__(node, SEALS)
        self._name = node
        self._nodes = nodes

    def reaches(self, url: str, name: str) -> str:
        self._reach(url)
        return "" if PeersHere(url, self._nodes)._reaches(name) else "it is hidden"

    def open_blob(self, url: str, blob: ThingAtPeer, start: int, stop: int | None = None) -> PeerBody:
        node, target = self._found(url, blob)
        try:
            digest, wanted = Digest.parse(blob.digest), f"bytes={start}-{stop - 1}" if stop else None
            ask = partial(node.blobs.get_held, target, digest, wanted, fetches=blob.is_wanted)
            answer = in_time(ask) if blob.is_wanted else ask()
        except Cut as cut:
            raise PeerRefused(cut.error.status) from cut
        except RegistryError as error:
            raise PeerRefused(error.status) from error
        return cast("PeerBody", BodyHere(answer.body, start, stop, partial(self._reaches, url)))

    def get_manifest(self, url: str, manifest: ThingAtPeer) -> tuple[bytes, str]:
        node, target = self._found(url, manifest)
        try:
            answer = node.manifests.get_held(target, Digest.parse(manifest.digest))
        except RegistryError as error:
            raise PeerRefused(error.status) from error
        return answer.data or b"", answer.media_type

    def ask(self, url: str, question: SharedQuestion) -> dict[str, Any] | None:
        self._reach(url)
        node = self._nodes[url]
        target = target_at(node.registry, Repository.parse(question.repository))
        return node.answers.answer(question.kind, target, question.reference)

    def _reaches(self, url: str) -> bool:
        is_there = url in self._nodes and not self._nodes[url].is_lost and not self._nodes[self._name].is_lost
        return is_there and self._name not in self._nodes[url].hidden_from

    def _reach(self, url: str) -> None:
        if url in self._nodes and self._name in self._nodes[url].hidden_from:
            raise PeerUnreachable(f"no answer from {url}")
        if not self._reaches(url):
            raise PeerFailed(f"{url} is not reached")

    def _found(self, url: str, thing: ThingAtPeer) -> tuple[NearNode, PullTarget]:
        self._reach(url)
        node = self._nodes[url]
        return node, target_at(node.registry, Repository.parse(thing.repository))


def three_nodes(folder: Path, server: RedisServer, upstream_url: str, standby: int = 0) -> list[NearNode]:
    """Nodes that know each other; `standby`: from which size on a second one brings a blob along."""
    nodes: NearNodes = {}
    for name in ("one", "two", "three"):
        nodes[name] = NearNode(name, folder / name, server, upstream_url, nodes, standby)
    for node in nodes.values():
        node.cluster.membership.beat()
    for node in nodes.values():
        node.cluster.membership.remember()
    return list(nodes.values())
