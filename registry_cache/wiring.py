"""The one place that constructs things: from a configuration to what answers requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime

from registry_cache.api.metrics import UpstreamState
from registry_cache.config import Config, UpstreamConfig
from registry_cache.config.hosts import HUB
from registry_cache.oci.image_name import split_image_name
from registry_cache.oci.names import Reference, Repository
from registry_cache.policy.eviction import Bounds
from registry_cache.pull.blob import BlobPull, Feeds
from registry_cache.pull.flight import Flights
from registry_cache.pull.listing import Listing
from registry_cache.pull.manifest import ManifestPull, TagPolicy
from registry_cache.pull.target import Served, Upstreams
from registry_cache.store import inventory, selftest
from registry_cache.store.blobs import Blobs
from registry_cache.store.board import Notice
from registry_cache.store.layout import Layout
from registry_cache.store.partials import Partials
from registry_cache.store.records import Records
from registry_cache.upkeep import status
from registry_cache.upkeep.checkup import Step
from registry_cache.upkeep.cleanup import Cleanup, Progress
from registry_cache.upstream.auth import Authenticator, Credentials
from registry_cache.upstream.check import Check
from registry_cache.upstream.client import Upstream
from registry_cache.upstream.credential_helper import CredentialHelper
from registry_cache.upstream.health import Health
from registry_cache.upstream.limits import Limits
from registry_cache.upstream.session import TLS, Session, Timeouts
from registry_cache.upstream.steps import Target as CheckTarget

# What ``registry-cache check`` asks Docker Hub for where nothing is named: everybody may read it.
HUB_SAMPLE = "library/alpine:latest"


@dataclass(frozen=True, slots=True)
class Services:
    """What the API and the commands need."""

    upstreams: Upstreams
    manifests: ManifestPull
    blobs: BlobPull
    listing: Listing
    upstream_states: Callable[[], list[UpstreamState]]


def build(config: Config) -> Services:
    """Construct everything; opens the store and no connection. Raises StoreError."""
    layout = Layout.open(config.root)
    blobs = Blobs(layout)
    records = Records(layout, blobs)
    flights = Flights(layout)
    manifests = ManifestPull(records, flights, lambda: datetime.now(UTC))
    return Services(
        upstreams=Upstreams(*_served(config, layout)),
        manifests=manifests,
        blobs=BlobPull(blobs, Feeds(blobs, Partials(layout), config.readers)),
        listing=Listing(records, flights, manifests),
        upstream_states=lambda: [_state(each.name, layout) for each in config.upstreams],
    )


def _state(name: str, layout: Layout) -> UpstreamState:
    board = Board(Notice(layout, name))
    limits = board.limits()
    until = limits.blocked_until(counted=True)
    return UpstreamState(
        name,
        up=not board.is_down(),
        limit=limits.limit,
        remaining=limits.remaining,
        limited_until=until if until > time.time() else 0.0,
    )


def status_report(config: Config, now: float) -> status.Report:
    """Return how the cache is at ``now``, from the disk alone; makes nothing there. Raises StoreError."""
    layout = Layout(config.root)
    exists = Layout.find(config.root) is not None
    upstreams = []
    for each in config.upstreams:
        notice = Notice(layout, each.name)
        down = notice.read().get("down")
        limits = Board(notice).limits()
        known = status.Known(each.name, each.remote_url, limits, down if isinstance(down, dict) else {})
        upstreams.append(status.upstream(known, now))
    return status.Report(
        now=now,
        upstreams=upstreams,
        cached=inventory.count(layout),
        transfers=inventory.unfinished(layout),
        root=str(config.root),
        exists=exists,
        room=inventory.room(layout.root),
    )


def cleanup(config: Config, now: float, in_time: Callable[[], bool], progress: Progress) -> Cleanup | None:
    """Return a pass of cleanup at ``now``; None where there is no store yet. Raises StoreError."""
    layout = Layout.find(config.root)
    if layout is None:
        return None
    total = inventory.room(layout.root).total
    bounds = Bounds(config.ttl, config.max_size.bytes_of(total), config.min_free.bytes_of(total))
    return Cleanup(layout, bounds, now, in_time, progress)


@dataclass(frozen=True, slots=True)
class Checked:
    """What ``registry-cache check`` tries; running through ``steps`` tries them, once."""

    kind: str
    name: str
    place: str
    steps: Iterator[Step]


def checks(config: Config, images: Sequence[str]) -> list[Checked]:
    """Return the checks of the store and of every upstream; connects to nothing yet.

    ``images`` are asked for, each at the upstream it names. Raises NameInvalid, NameUnknown, DigestInvalid,
    ManifestUnknown for one that nobody can ask for.
    """
    served = Upstreams(*_served(config, Layout(config.root)))
    wanted: dict[str, list[tuple[Repository, Reference]]] = {}
    for image in images:
        name, reference = split_image_name(image)
        target = served.target(name, {})
        wanted.setdefault(target.upstream.name, []).append((target.repository, reference))
    if HUB not in wanted:
        name, reference = split_image_name(HUB_SAMPLE)
        wanted[HUB] = [(Repository(name), reference)]
    found = [Checked("store", "store", str(config.root), selftest.examine(config.root))]
    for each in config.upstreams:
        keys = "proxy" if each is config.default_upstream else f"upstreams.{each.name}"
        check = Check(_check_target(each, keys), _session(each), _credentials(each))
        found.append(Checked("upstream", each.name, each.remote_url, check.run(wanted.get(each.name, []))))
    return found


class Board:
    """An upstream's state as its workers share it: ``upstream.health.Board`` over a notice in the store."""

    def __init__(self, notice: Notice) -> None:
        self._notice = notice

    def limits(self) -> Limits:
        values = self._notice.read().get("limits")
        known = {field.name for field in fields(Limits)}
        try:
            return Limits(**{name: value for name, value in values.items() if name in known})  # type: ignore[attr-defined]
        except (AttributeError, TypeError):
            return Limits()

    def put_limits(self, limits: Limits) -> None:
        self._notice.write("limits", asdict(limits))

    def is_down(self) -> bool:
        return self._notice.read().get("down") is not None

    def put_down(self, since: float | None, cause: str) -> None:
        self._notice.write("down", None if since is None else {"since": since, "cause": cause})


def _served(config: Config, layout: Layout) -> tuple[Served, list[Served]]:
    default, *others = (_serve(upstream, layout) for upstream in config.upstreams)
    return default, others


def _serve(config: UpstreamConfig, layout: Layout) -> Served:
    tags = TagPolicy(config.tag_max_age, config.tag_timeout.total_seconds())
    return Served(_upstream(config, layout), config.aliases, tags, config.pull_fallback)


def _upstream(config: UpstreamConfig, layout: Layout) -> Upstream:
    session = _session(config)
    auth = Authenticator(config.name, config.remote_url, session, _credentials(config), config.token_realms)
    health = Health(config.name, Board(Notice(layout, config.name)))
    return Upstream(config.name, config.remote_url, session, auth, health)


def _check_target(config: UpstreamConfig, keys: str) -> CheckTarget:
    return CheckTarget(
        name=config.name,
        url=config.remote_url,
        keys=keys,
        proxy=config.http_proxy.reveal() if config.http_proxy else None,
        account=bool(config.credential_helper or config.username),
        ca=str(config.ca) if config.ca else None,
        insecure=config.insecure,
        realms=config.token_realms,
    )


def _session(config: UpstreamConfig) -> Session:
    timeouts = Timeouts(config.connect_timeout.total_seconds(), config.read_timeout.total_seconds())
    verify: bool | str = False if config.insecure else str(config.ca) if config.ca else True
    certificate = None
    if config.client_certificate and config.client_key:
        certificate = (str(config.client_certificate), str(config.client_key))
    proxy = config.http_proxy.reveal() if config.http_proxy else None
    return Session(config.name, timeouts, TLS(verify, certificate), proxy)


def _credentials(config: UpstreamConfig) -> Callable[[], Credentials | None]:
    if config.credential_helper:
        helper = CredentialHelper(config.credential_helper, config.credential_server, config.credential_lifetime)
        return helper.credentials
    if not (config.username and config.password):
        return lambda: None
    fixed = Credentials(config.username, config.password.reveal())
    return lambda: fixed
