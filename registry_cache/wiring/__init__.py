"""Build everything from a configuration: what answers requests, and the parts that the commands need."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from socket import gethostname

from registry_cache import __version__
from registry_cache.api.auth import Guard
from registry_cache.api.health import Readiness
from registry_cache.api.metrics import BucketState, StoreState, UpstreamState
from registry_cache.api.peers import PeerGate
from registry_cache.auth.slowdown import Slowdown
from registry_cache.auth.users import Users
from registry_cache.auth.verifier import Verifier
from registry_cache.bucket.sender_process import SenderProcess
from registry_cache.cluster.addresses import own_address
from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.keeper import LeaseKeeper
from registry_cache.cluster.leases import Leases
from registry_cache.cluster.membership import Membership
from registry_cache.cluster.notes import Notes
from registry_cache.cluster.questions import Questions
from registry_cache.cluster.redis_address import RedisAddress
from registry_cache.config import Config, UpstreamConfig
from registry_cache.config.banner import ANY_TO_LOOPBACK
from registry_cache.config.hosts import DEFAULT_PORTS, HUB
from registry_cache.config.model import RedisConfig
from registry_cache.deployment import nginx
from registry_cache.deployment.client_setup import Mirror
from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.policy.eviction import Bounds
from registry_cache.pull.blob import BlobPull
from registry_cache.pull.images.manifest_lookup import Layers
from registry_cache.pull.lazy.flights import PieceFlights
from registry_cache.pull.lazy.near_ranges import NearRanges
from registry_cache.pull.lazy.pull import MAX_FILL_PAUSE_SECONDS, LazyPull
from registry_cache.pull.listing import Listing
from registry_cache.pull.manifest import ManifestPull
from registry_cache.pull.near import Cluster, NearBlob
from registry_cache.pull.near_limits import NearLimits
from registry_cache.pull.reader_slots import ReaderSlots
from registry_cache.pull.rests import Rests
from registry_cache.pull.routing import ServedUpstream, Upstreams
from registry_cache.pull.shared_health import SharedHealth, account_key
from registry_cache.pull.single_flight import MachineFlights
from registry_cache.pull.target import TagPolicy
from registry_cache.pull.transfer.registry import Transfers
from registry_cache.runtime import metrics
from registry_cache.runtime.seals import Seals
from registry_cache.stats.files import StatisticsFiles
from registry_cache.stats.journal_file import JournalBounds
from registry_cache.stats.keeper import Keeper
from registry_cache.stats.nginx_hits import NginxHits
from registry_cache.stats.recorder import Recorder
from registry_cache.stats.statistics import Statistics
from registry_cache.stats.sums import DiskUse
from registry_cache.stats.tally import Tally
from registry_cache.store import inventory
from registry_cache.store.blobs import Blobs
from registry_cache.store.disk_errors import disk_error_log
from registry_cache.store.last_runs import read_last_runs
from registry_cache.store.last_use import UseSpreader
from registry_cache.store.layout import Layout
from registry_cache.store.partials import Partials
from registry_cache.store.pieces import Pieces
from registry_cache.store.pins import Pins
from registry_cache.store.readiness import ReadinessProbe
from registry_cache.store.records import Records
from registry_cache.store.size_ledger import SizeLedger
from registry_cache.store.upstream_notes import UpstreamNote
from registry_cache.ui.blueprint import Door
from registry_cache.ui.facts import Facts, Key, SizeLimits
from registry_cache.upkeep.cleanup_process import CleanupProcess
from registry_cache.upkeep.daily_pass import DailyPass
from registry_cache.upkeep.glance import Glance, Watcher
from registry_cache.upkeep.repository_details import repository_details, some_tags
from registry_cache.upkeep.size_keeper import SizeKeeper, SpaceNeeded
from registry_cache.upkeep.status import KnownUpstream
from registry_cache.upkeep.survey import Surveyor
from registry_cache.upstream.account import Account, Credentials, FixedAccount
from registry_cache.upstream.auth import Authenticator
from registry_cache.upstream.bucket import BucketReader
from registry_cache.upstream.client import Upstream
from registry_cache.upstream.credential_helper import CredentialHelper
from registry_cache.upstream.health import Health
from registry_cache.upstream.peer import PeerFailed, PeerRefused, Peers, PeerSilent
from registry_cache.upstream.session import TLS, Session, Timeouts
from registry_cache.upstream.transport import Transport
from registry_cache.wiring.bucket import shared_parts


@dataclass(frozen=True, slots=True)
class Services:
    """What the API and the commands need."""

    upstreams: Upstreams
    manifests: ManifestPull
    blobs: BlobPull
    listing: Listing
    upstream_states: Callable[[], list[UpstreamState]]
    store_state: Callable[[], StoreState | None]
    readiness: Callable[[], Readiness]
    accel: Callable[[Digest], str] | None
    """Returns nginx' name of a whole blob; None where nginx sends none for us."""
    guard: Guard | None
    """Asks clients for a login; None where everybody may pull."""
    membership: Membership | None
    """For a server to begin; None where there is no cluster."""
    peer_gate: PeerGate | None
    """Lets other nodes in; None where there are none."""
    daily_pass: DailyPass
    """For a server to begin; a command does not live that long."""
    page: tuple[Facts, Door] | None
    """What ``/ui/`` shows, and to whom; None where it does not exist."""
    recorder: Recorder
    """For a server to begin, and to end."""
    bucket_state: Callable[[], BucketState | None]
    sender: SenderProcess | None
    """As ``daily_pass``; None without a bucket."""


def build(config: Config) -> Services:
    """Construct everything; opens the store and no connection. Raises StoreError."""
    layout = Layout.open(config.root)
    blobs = Blobs(layout)
    records = Records(layout, blobs)
    flights = MachineFlights(layout)
    disk_error_log.on_error = lambda error: metrics.count_store_failure(
        errno.errorcode.get(error.errno or 0, "unknown")
    )
    keeper = _keeper(config, layout)
    rests, partials, pieces = Rests(layout), Partials(layout), Pieces(layout)
    piece_flights = PieceFlights(keeper.kept)
    cluster = cluster_of(config)
    transfers = Transfers(
        blobs,
        partials,
        keeper,
        rests,
        pieces,
        lambda: piece_flights.wait_until_idle(MAX_FILL_PAUSE_SECONDS),
        partial(NearBlob, cluster) if cluster else None,
    )
    slots, layers = ReaderSlots(config.readers), Layers(records)
    shared, near = shared_parts(config, layout), NearRanges(cluster) if cluster else None
    lazy = LazyPull(
        blobs,
        pieces,
        piece_flights,
        transfers,
        partials,
        slots,
        layers,
        flights,
        shared.source_of,
        shared.images,
        near,
    )
    now = partial(datetime.now, UTC)
    manifests = ManifestPull(
        records, flights, now, pins=Pins(layout), rests=rests, cluster=cluster, shared=shared.images
    )
    guard, readiness = _guard(config), partial(_readiness, ReadinessProbe(layout), shared.reader)
    return Services(
        upstreams=upstreams(config, cluster),
        manifests=manifests,
        blobs=BlobPull(blobs, transfers, slots, layers, flights, lazy, shared.source_of, shared.images),
        listing=Listing(records, flights, manifests),
        upstream_states=lambda: [_upstream_state(each, layout) for each in config.upstreams],
        store_state=partial(_scraped, layout, SizeLedger(layout), Statistics(layout)),
        readiness=readiness,
        accel=partial(_nginx_name, layout) if config.http.accel else None,
        guard=guard,
        membership=cluster.membership if cluster else None,
        peer_gate=_peer_gate(config, cluster),
        daily_pass=DailyPass(layout, keeper.start_pass),
        page=_page(config, layout, guard, readiness),
        recorder=_recorder(config, layout),
        bucket_state=shared.state,
        sender=shared.sender,
    )


def _page(
    config: Config, layout: Layout, guard: Guard | None, readiness: Callable[[], Readiness]
) -> tuple[Facts, Door] | None:
    debug = config.http.debug
    if debug is None or not config.has_page:
        return None
    watcher, limits = Watcher(layout), bounds(config, layout)

    def glance() -> Glance:
        now = datetime.now(UTC).astimezone()
        return watcher.look(known_upstreams(config, layout), readiness().store, now.timestamp(), now.tzinfo)

    facts = Facts(
        version=__version__,
        glance=glance,
        answer_seconds=metrics.answer_seconds,
        statistics=Statistics(layout),
        surveyor=Surveyor(layout),
        repository=partial(repository_details, layout),
        tags=partial(some_tags, layout),
        has_journal=config.statistics.journal_days > 0,
        limits=SizeLimits(limits.max_size, limits.min_free),
        mirror=mirror(config),
        is_address_known=config.http.url is not None,
        configuration=[Key(each.path, each.value, each.origin) for each in config.in_force],
    )
    url = config.http.url
    names = {*debug.hosts, *([url.name.rpartition(":")[0] or url.name] if url else [])}
    return facts, Door(names, guard.admit if guard and not debug.is_loopback else None)


def _recorder(config: Config, layout: Layout) -> Recorder:
    kept, files, ledger = config.statistics, StatisticsFiles(layout), SizeLedger(layout)

    def disk_use() -> DiskUse | None:
        state = _store_state(layout, ledger)
        limit = config.max_size.bytes_of(state.size) if state else None
        return DiskUse(state.stored or 0, limit or 0, state.free) if state else None

    total = inventory.disk_space(layout.root).total
    bounds = JournalBounds(kept.journal_days if kept.clients else 0, kept.journal_size.bytes_of(total) or total)

    def tally() -> Tally:
        return Tally(journal=bounds.is_on, clients=kept.clients)

    def count(hits: Mapping[str, tuple[int, int]]) -> None:
        for kind, (number, size) in hits.items():
            metrics.count_nginx_hits(kind, number, size)

    hits = NginxHits(str(kept.nginx_log), tally(), count, UseSpreader(layout).note_use) if kept.nginx_log else None
    return Recorder(files, Keeper(files, bounds, disk_use), tally(), hits)


def _store_state(layout: Layout, ledger: SizeLedger) -> StoreState | None:
    try:
        space = inventory.disk_space(layout.root)
    except StoreError:
        return None
    runs = read_last_runs(layout)
    return StoreState(ledger.total(), space.total, space.free, runs.cleanup, runs.verify, runs.damage)


def _scraped(layout: Layout, ledger: SizeLedger, statistics: Statistics) -> StoreState | None:
    state = _store_state(layout, ledger)
    try:
        return replace(state, clients_gone=len(statistics.clients_gone())) if state else None
    except StoreError:
        return state


def _readiness(probe: ReadinessProbe, bucket: BucketReader | None) -> Readiness:
    word = probe.check()
    beside = {} if bucket is None else {"bucket": "away" if bucket.outage.is_away else "ok"}
    # On a full disk pulls still work, uncached; from a store that is gone or broken clients must be sent elsewhere.
    return Readiness(word != "failing", word, beside)


def cluster_of(config: Config) -> Cluster | None:
    """Return what this node shares its downloads with; connects to nothing yet."""
    if config.redis is None or config.http.secret is None:
        return None
    # Not before: it imports redis, which is installed by an extra.
    from registry_cache.cluster.redis_client import RedisClient

    seals, node = Seals(config.http.secret.reveal()), config.cluster.node or ""
    redis, url = RedisClient(redis_address(config.redis)), _advertised(config, config.redis)
    leases = Leases(redis, seals, node, url)
    ca = str(config.cluster.ca) if config.cluster.ca else None
    membership = Membership(redis, seals, node, url, partial(_node_facts, config))
    return Cluster(
        leases,
        LeaseKeeper(leases),
        Peers(node, seals, ca),
        membership,
        Questions(redis, seals, node),
        Notes(redis, seals, "limits"),
    )


def _node_facts(config: Config) -> dict[str, object]:
    """Return what this node tells of itself to whoever looks at the cluster."""
    try:
        free: int | None = inventory.disk_space(str(config.root)).free
    except StoreError:
        free = None
    return {"version": __version__, "free": free}


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


def _advertised(config: Config, redis: RedisConfig) -> str:
    """Return the URL by which other nodes reach this one."""
    if config.cluster.advertise:
        return config.cluster.advertise
    scheme = "https" if config.http.tls else "http"
    return f"{scheme}://{config.cluster.host or own_address(redis.host, redis.port)}:{config.cluster.port}"


def _peer_gate(config: Config, cluster: Cluster | None) -> PeerGate | None:
    if cluster is None or config.http.secret is None:
        return None
    return PeerGate(Seals(config.http.secret.reveal()), cluster.leases.node, partial(_trouble_reaching, cluster))


def _trouble_reaching(cluster: Cluster, name: str) -> str:
    """Return why this node does not reach the one called ``name``; "" where it does."""
    try:
        nodes, _ = cluster.membership.look()
        url = next((node.url for node in nodes if node.name == name), None)
        if url is None:
            return f"Redis knows no node called {name}"
        cluster.peers.ping(url)
    except (RedisAway, PeerFailed, PeerRefused, PeerSilent) as error:
        return str(error) or type(error).__name__
    return ""


def _guard(config: Config) -> Guard | None:
    if config.auth is None:
        return None
    return Guard(config.auth.realm, Users(config.auth.path, config.auth.users), Verifier(), Slowdown())


def _nginx_name(layout: Layout, digest: Digest) -> str:
    return nginx.BLOBS + layout.blob(digest).removeprefix(f"{layout.blobs}/")


def _keeper(config: Config, layout: Layout) -> SizeKeeper:
    limits = bounds(config, layout)
    process = CleanupProcess(config.root, limits, config.log.level, config.log.formatter)

    def evict(needed: SpaceNeeded) -> int | None:
        blobs, size, pinned = process.run(needed)
        metrics.count_evictions(blobs, size)
        return pinned

    return SizeKeeper(layout, limits, evict)


def _upstream_state(config: UpstreamConfig, layout: Layout) -> UpstreamState:
    health = shared_health(config, layout)
    limits = health.limits()
    until = limits.blocked_until(counted=True)
    return UpstreamState(
        config.name,
        up=not health.is_down(),
        limit=limits.limit,
        remaining=limits.remaining,
        limited_until=until if until > time.time() else 0.0,
    )


def bounds(config: Config, layout: Layout) -> Bounds:
    """Return the bounds that a cleanup holds the store to. Raises StoreError."""
    total = inventory.disk_space(layout.root).total
    reserved = {each.name: each.reserved_size.bytes_of(total) for each in config.upstreams}
    return Bounds(
        config.ttl,
        config.max_size.bytes_of(total),
        config.min_free.bytes_of(total),
        config.max_blob_percent,
        {name: size for name, size in reserved.items() if size},
    )


def mirror(config: Config) -> Mirror:
    """Return this cache as its clients reach it, as far as the configuration tells."""
    http = config.http
    if http.url is not None:
        url = http.url.url
    elif http.socket is not None:
        # nginx in front of us has a name that we do not know.
        url = "https://registry.example.com"
    else:
        host = gethostname() if http.host in ("", *ANY_TO_LOOPBACK) else http.host
        scheme = "https" if http.tls else "http"
        port = "" if http.port == DEFAULT_PORTS[scheme] else f":{http.port}"
        url = f"{scheme}://{f'[{host}]' if ':' in host else host}{port}"
    # Whatever stands in for Docker Hub is Docker Hub to clients.
    names = [HUB if HUB in each.aliases else each.name for each in config.upstreams]
    return Mirror(url, names, needs_login=config.auth is not None)


def known_upstreams(config: Config, layout: Layout) -> list[KnownUpstream]:
    """Return what the workers have noted of all upstreams."""
    healths = [(each, shared_health(each, layout)) for each in config.upstreams]
    return [KnownUpstream(each.name, each.remote_url, found.limits(), found.down()) for each, found in healths]


def upstreams(config: Config, cluster: Cluster | None = None) -> Upstreams:
    """Return all upstreams by their names; opens neither the store nor a connection."""
    layout = Layout(config.root)
    default, *others = (_serve(upstream, layout, cluster) for upstream in config.upstreams)
    return Upstreams(default, others)


def shared_health(
    config: UpstreamConfig,
    layout: Layout,
    without_account: Callable[[], bool] | None = None,
    cluster: Cluster | None = None,
) -> SharedHealth:
    """Return what the workers have noted about an upstream; reads the note when it is asked."""
    owner = account_key(config.remote_url, config.username, config.credential_helper, config.credential_server)
    near = NearLimits(cluster.limits, config.name, owner) if cluster else None
    return SharedHealth(UpstreamNote(layout, config.name), owner, without_account, near)


def _serve(config: UpstreamConfig, layout: Layout, cluster: Cluster | None) -> ServedUpstream:
    tags = TagPolicy(config.tag_max_age, config.tag_timeout.total_seconds())
    return ServedUpstream(_upstream(config, layout, cluster), config.aliases, tags, config.pull_fallback)


def _upstream(config: UpstreamConfig, layout: Layout, cluster: Cluster | None) -> Upstream:
    http = session(config)
    auth = Authenticator(config.name, config.remote_url, http, account(config), config.token_realms)
    shared = shared_health(config, layout, lambda: auth.account.is_missing, cluster)
    transport = Transport(
        config.name, config.remote_url, http, auth, Health(config.name, shared), config.http_redirects
    )
    return Upstream(transport, config.blob_requests, config.layers_ahead, config.lazy)


def session(config: UpstreamConfig) -> Session:
    """Return what sends requests to an upstream; connects to nothing yet."""
    seconds = (each.total_seconds() for each in (config.connect_timeout, config.read_timeout, config.idle_timeout))
    timeouts = Timeouts(*seconds)
    verify: bool | str = False if config.insecure else str(config.ca) if config.ca else True
    pair = (config.client_certificate, config.client_key)
    certificate = (str(pair[0]), str(pair[1])) if all(pair) else None
    proxy = config.http_proxy.reveal() if config.http_proxy else None
    tls = TLS(verify, certificate, config.strict_tls)
    return Session(config.name, timeouts, tls, proxy, private_redirects=config.private_redirects)


def account(config: UpstreamConfig) -> Account:
    """Return the account to pull with; a helper is not run yet."""
    if config.credential_helper:
        return CredentialHelper(config.credential_helper, config.credential_server, config.credential_lifetime)
    if config.username and config.password:
        return FixedAccount(Credentials(config.username, config.password.reveal()))
    return FixedAccount(None)
