"""Build everything from a configuration: what answers requests, and the parts that the commands need."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from registry_cache.api.auth import Guard
from registry_cache.api.health import Readiness
from registry_cache.api.metrics import BucketState, StoreState, UpstreamState
from registry_cache.api.peers import PeerGate
from registry_cache.auth.slowdown import Slowdown
from registry_cache.auth.users import Users
from registry_cache.auth.verifier import Verifier
from registry_cache.bucket.sender_process import SenderProcess
from registry_cache.cluster.membership import Membership
from registry_cache.config import Config
from registry_cache.oci.digest import Digest
from registry_cache.pull.blob import BlobPull
from registry_cache.pull.cluster.peer_answers import PeerAnswers
from registry_cache.pull.listing import Listing
from registry_cache.pull.manifest import ManifestPull
from registry_cache.pull.routing import Upstreams
from registry_cache.pull.single_flight import MachineFlights
from registry_cache.pull.wrong_bytes import WrongBytes
from registry_cache.runtime import metrics
from registry_cache.stats.recorder import Recorder
from registry_cache.stats.statistics import Statistics
from registry_cache.store.blobs import Blobs
from registry_cache.store.disk_errors import disk_error_log
from registry_cache.store.layout import Layout
from registry_cache.store.pins import Pins
from registry_cache.store.readiness import ReadinessProbe
from registry_cache.store.records import Records
from registry_cache.store.size_ledger import SizeLedger
from registry_cache.ui.blueprint import Door
from registry_cache.ui.facts import Facts
from registry_cache.upkeep.daily_pass import DailyPass
from registry_cache.wiring.blobs import StoreParts, blob_pull
from registry_cache.wiring.bucket import shared_parts
from registry_cache.wiring.nodes import cluster_facts, cluster_of, peer_gate, questions_of
from registry_cache.wiring.page import page_of
from registry_cache.wiring.statistics import recorder_of
from registry_cache.wiring.storage import keeper_of, nginx_name, readiness_of, scraped_state
from registry_cache.wiring.upstreams import upstream_state, upstreams


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
    """For a server to begin; None where no Redis can be told."""
    peer_gate: PeerGate | None
    """Lets other nodes in; None where there are none."""
    peer_answers: PeerAnswers
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
    parts = StoreParts(layout, blobs, Records(layout, blobs), MachineFlights(layout), WrongBytes(layout))
    disk_error_log.on_error = lambda error: metrics.count_store_failure(
        errno.errorcode.get(error.errno or 0, "unknown")
    )
    # One for all who look: what it has read of the days' files is read once.
    statistics = Statistics(layout)
    keeper, cluster, shared = keeper_of(config, layout), cluster_of(config, statistics), shared_parts(config, layout)
    now = partial(datetime.now, UTC)
    near = questions_of(cluster, parts.flights)
    manifests = ManifestPull(
        parts.records,
        parts.flights,
        now,
        pins=Pins(layout),
        wrong_bytes=parts.wrong_bytes,
        cluster=cluster,
        shared=shared.images,
        near=near,
    )
    listing = Listing(parts.records, parts.flights, manifests, near)
    guard, readiness = _guard(config), partial(readiness_of, ReadinessProbe(layout), shared.reader)
    return Services(
        upstreams=upstreams(config, cluster),
        manifests=manifests,
        blobs=blob_pull(parts, config.readers, keeper, cluster, shared, near),
        listing=listing,
        upstream_states=lambda: [upstream_state(each, layout) for each in config.upstreams],
        store_state=partial(scraped_state, layout, SizeLedger(layout), statistics),
        readiness=readiness,
        accel=partial(nginx_name, layout) if config.http.accel else None,
        guard=guard,
        membership=cluster.membership if cluster and config.redis else None,
        peer_gate=peer_gate(config, cluster),
        peer_answers=PeerAnswers(manifests, listing, near),
        daily_pass=DailyPass(layout, keeper.start_pass),
        page=page_of(config, layout, statistics, guard, readiness, cluster_facts(config, cluster)),
        recorder=recorder_of(config, layout),
        bucket_state=shared.state,
        sender=shared.sender,
    )


def _guard(config: Config) -> Guard | None:
    if config.auth is None:
        return None
    return Guard(config.auth.realm, Users(config.auth.path, config.auth.users), Verifier(), Slowdown())
