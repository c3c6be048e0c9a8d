"""Build what makes this cache one of several nodes."""

from __future__ import annotations

import time
from functools import partial
from urllib.parse import urlsplit

from registry_cache import __version__
from registry_cache.api.peers import PeerGate
from registry_cache.cluster.addresses import own_address
from registry_cache.cluster.bucket_turn import BucketTurn
from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.keeper import LeaseKeeper
from registry_cache.cluster.leases import AsksRedis, Leases
from registry_cache.cluster.membership import BEAT_SECONDS, ClusterNode, Membership
from registry_cache.cluster.no_redis import NoRedis
from registry_cache.cluster.notes import Notes
from registry_cache.cluster.questions import Questions
from registry_cache.cluster.redis_address import RedisAddress
from registry_cache.config import Config
from registry_cache.config.model import RedisConfig
from registry_cache.errors import StoreError
from registry_cache.pull.cluster.nodes import Cluster
from registry_cache.pull.cluster.pieces import NearPieces
from registry_cache.pull.cluster.pins import NearPins
from registry_cache.pull.cluster.placed_questions import PlacedQuestions
from registry_cache.pull.cluster.placement import Placement
from registry_cache.pull.cluster.questions import ALONE, NearQuestions
from registry_cache.pull.cluster.reach import NearReach
from registry_cache.pull.single_flight import MachineFlights
from registry_cache.runtime.seals import Seals
from registry_cache.stats.node_numbers import node_numbers
from registry_cache.stats.statistics import Statistics
from registry_cache.store import inventory
from registry_cache.store.layout import Layout
from registry_cache.store.outbox import Outbox
from registry_cache.store.pins import Pins
from registry_cache.ui.cached_value import CachedValue
from registry_cache.ui.nodes import ClusterFacts
from registry_cache.upstream.peer import PeerFailed, PeerRefused, Peers, PeerSilent

# A node says every few seconds that it is there; what it saved is added up more rarely.
_NUMBERS_SECONDS = 60.0
# And so is how much waits for the bucket, which takes a look at a folder.
_OUTBOX_SECONDS = 15.0
# Of the list of pins, a hundred bytes each.
_MOST_PIN_BYTES = 16 * 1024 * 1024


def cluster_of(config: Config, statistics: Statistics) -> Cluster | None:
    """Return what this node shares its downloads with, and tells its ``statistics``; connects to nothing yet."""
    if not config.shares_downloads or config.http.secret is None:
        return None
    redis, seals = _redis(config) or (NoRedis(), Seals(config.http.secret.reveal()))
    node, url = config.cluster.node or "", _advertised(config)
    ca = str(config.cluster.ca) if config.cluster.ca else None
    numbers = CachedValue(partial(_numbers, statistics), _NUMBERS_SECONDS)
    exchange = partial(_near_pins(config, redis, seals).exchange_in_one_worker, Layout(config.root).pin_exchange_lock)

    def at_each_beat() -> None:
        exchange()
        reach.beat()

    outbox = CachedValue(partial(_waiting, config), _OUTBOX_SECONDS)
    facts = partial(_node_facts, config, numbers, outbox)
    membership = Membership(redis, seals, node, url, facts, exchange=at_each_beat)
    peers, placement = Peers(node, seals, ca, membership.clock), Placement(url, membership, config.cluster.peers)
    reach = NearReach(node, peers, membership, placement)
    leases = Leases(redis, seals, node, url, membership.clock)
    return Cluster(
        leases,
        LeaseKeeper(leases),
        peers,
        membership,
        Questions(redis, seals, node, membership.clock),
        Notes(redis, seals, "limits"),
        Notes(redis, seals, "tag"),
        NearPieces(Notes(redis, seals, "pieces"), node, url, membership.clock),
        placement,
        reach,
        int(config.cluster.standby.amount),
    )


def bucket_turn(config: Config) -> BucketTurn | None:
    """Return what lets one node at a time hold the bucket to its size; None where this one knows of no others."""
    shared = _redis(config)
    return BucketTurn(*shared, config.cluster.node or "") if shared else None


def questions_of(cluster: Cluster | None, flights: MachineFlights) -> NearQuestions:
    """Return what asks each question once for all nodes."""
    if cluster is None:
        return ALONE
    return NearQuestions(cluster.questions, PlacedQuestions(cluster.placement, cluster.peers, flights))


def cluster_facts(config: Config, cluster: Cluster | None) -> ClusterFacts | None:
    """Return what the page shows of all nodes; None where no Redis knows them."""
    if cluster is None or config.redis is None:
        return None

    def look() -> list[ClusterNode] | None:
        try:
            return cluster.membership.look()[0]
        except RedisAway:
            return None

    return ClusterFacts(cluster.leases.node, CachedValue(look, BEAT_SECONDS).get)


def _numbers(statistics: Statistics) -> dict[str, int] | None:
    try:
        return node_numbers(statistics, time.time()).document()
    except StoreError:
        return None


def exchange_pins(config: Config) -> str:
    """Exchange pins with the other nodes, if there are any; return why that was not possible, "" where it was."""
    shared = _redis(config)
    try:
        if shared:
            _near_pins(config, *shared).exchange()
    except RedisAway as away:
        return str(away)
    return ""


def _redis(config: Config) -> tuple[AsksRedis, Seals] | None:
    """Return what the nodes share; None where there are no others. Connects to nothing yet."""
    if config.redis is None or config.http.secret is None:
        return None
    # Not before: it imports redis, which is installed by an extra.
    from registry_cache.cluster.redis_client import RedisClient

    return RedisClient(redis_address(config.redis)), Seals(config.http.secret.reveal())


def _near_pins(config: Config, redis: AsksRedis, seals: Seals) -> NearPins:
    return NearPins(Notes(redis, seals, "pins", _MOST_PIN_BYTES), Pins(Layout(config.root)))


def _waiting(config: Config) -> int | None:
    """Return how much waits for the bucket; None where there is none."""
    try:
        return Outbox(Layout(config.root)).state().entries if config.s3 else None
    except StoreError:
        return None


def _node_facts(
    config: Config, numbers: CachedValue[dict[str, int] | None], outbox: CachedValue[int | None]
) -> dict[str, object]:
    """Return what this node tells of itself to whoever looks at the cluster."""
    try:
        free: int | None = inventory.disk_space(str(config.root)).free
    except StoreError:
        free = None
    return {"version": __version__, "free": free, "numbers": numbers.get(), "outbox": outbox.get()}


def redis_address(config: RedisConfig) -> RedisAddress:
    """Return where Redis is."""
    tls = config.tls
    return RedisAddress(
        host=config.host,
        port=config.port,
        username=config.username,
        password=config.password.reveal() if config.password else None,
        db=config.db,
        tls=tls.enabled or bool(tls.certificate or tls.client_cas),
        ca=str(tls.client_cas[0]) if tls.client_cas else None,
        certificate=str(tls.certificate) if tls.certificate else None,
        key=str(tls.key) if tls.key else None,
    )


def _advertised(config: Config) -> str:
    """Return the URL by which other nodes reach this one."""
    if config.cluster.advertise:
        return config.cluster.advertise
    scheme = "https" if config.http.tls else "http"
    return f"{scheme}://{config.cluster.host or _address_towards_others(config)}:{config.cluster.port}"


def _address_towards_others(config: Config) -> str:
    if config.redis:
        return own_address(config.redis.host, config.redis.port)
    first = urlsplit(config.cluster.peers[0])
    return own_address(first.hostname or "", first.port or 0)


def peer_gate(config: Config, cluster: Cluster | None) -> PeerGate | None:
    if cluster is None or config.http.secret is None:
        return None
    reach = partial(_trouble_reaching, cluster)
    return PeerGate(Seals(config.http.secret.reveal()), cluster.leases.node, reach, cluster.membership.clock)


def _trouble_reaching(cluster: Cluster, name: str) -> str:
    """Return why this node does not reach the one called ``name``; "" where it does."""
    try:
        url = cluster.membership.url_of(name)
        if url is None:
            return f"Redis knows no node called {name}"
        cluster.peers.ping(url)
    except (RedisAway, PeerFailed, PeerRefused, PeerSilent) as error:
        return str(error) or type(error).__name__
    return ""
