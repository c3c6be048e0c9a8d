"""The one place that constructs things: from a configuration to what answers requests."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import partial

from registry_cache.api.auth import Guard
from registry_cache.api.health import Readiness
from registry_cache.api.metrics import StoreState, UpstreamState
from registry_cache.auth.slowdown import Slowdown
from registry_cache.auth.users import Users
from registry_cache.auth.verifier import Verifier
from registry_cache.config import Config, UpstreamConfig
from registry_cache.config.hosts import HUB
from registry_cache.deployment import nginx
from registry_cache.deployment.nginx_routes import Registry
from registry_cache.errors import RegistryError, StoreError
from registry_cache.oci.digest import Digest
from registry_cache.oci.layout_names import split_wanted
from registry_cache.oci.names import Reference, Repository, Tag, split_image_name
from registry_cache.policy.eviction import Bounds
from registry_cache.pull.blob import BlobPull
from registry_cache.pull.images import warm
from registry_cache.pull.images.closure import Image
from registry_cache.pull.images.export import Export
from registry_cache.pull.images.manifest_lookup import Layers
from registry_cache.pull.images.pin_spec import pin_of
from registry_cache.pull.images.warm import Warm
from registry_cache.pull.listing import Listing
from registry_cache.pull.manifest import ManifestPull
from registry_cache.pull.reader_slots import ReaderSlots
from registry_cache.pull.routing import ServedUpstream, Upstreams
from registry_cache.pull.single_flight import MachineFlights
from registry_cache.pull.target import TagPolicy
from registry_cache.pull.transfer.registry import Transfers
from registry_cache.runtime import metrics
from registry_cache.store import disk, inventory
from registry_cache.store.audit import selftest
from registry_cache.store.blobs import Blobs
from registry_cache.store.disk_errors import disk_error_log
from registry_cache.store.interchange.ingest import require_owner
from registry_cache.store.layout import Layout
from registry_cache.store.partials import Partials
from registry_cache.store.pins import Pin, PinnedManifest, Pins
from registry_cache.store.readiness import ReadinessProbe
from registry_cache.store.records import Records
from registry_cache.store.size_ledger import SizeLedger
from registry_cache.store.upstream_notes import UpstreamNote
from registry_cache.upkeep import size_keeper, status
from registry_cache.upkeep.check_text import Step
from registry_cache.upkeep.cleanup import Cleanup, Progress
from registry_cache.upkeep.cleanup_process import CleanupProcess
from registry_cache.upkeep.import_layout import Wanted
from registry_cache.upkeep.importer import MovingIn, Place
from registry_cache.upkeep.importer import Progress as ImportProgress
from registry_cache.upkeep.verify import Progress as VerifyProgress
from registry_cache.upkeep.verify import Task, Verify
from registry_cache.upstream.account import Account, Credentials, FixedAccount
from registry_cache.upstream.auth import Authenticator
from registry_cache.upstream.client import Upstream
from registry_cache.upstream.credential_helper import CredentialHelper
from registry_cache.upstream.diagnose.check import UpstreamCheck
from registry_cache.upstream.diagnose.steps import CheckTarget
from registry_cache.upstream.health import Health
from registry_cache.upstream.limits import Limits
from registry_cache.upstream.session import TLS, Session, Timeouts
from registry_cache.upstream.transport import Transport

# What ``registry-cache check`` asks Docker Hub for where nothing is named: everybody may read it.
HUB_SAMPLE = "library/alpine:latest"
# Repositories that are looked into for a tag to ask another upstream for.
_SAMPLED = 100


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
    """What nginx in front calls a whole blob; None where it is not to send any."""
    guard: Guard | None
    """Who asks for a login; None where everybody may pull."""


def build(config: Config) -> Services:
    """Construct everything; opens the store and no connection. Raises StoreError."""
    layout = Layout.open(config.root)
    blobs = Blobs(layout)
    records = Records(layout, blobs)
    flights = MachineFlights(layout)
    disk_error_log.on_error = lambda error: metrics.count_store_failure(
        errno.errorcode.get(error.errno or 0, "unknown")
    )
    transfers = Transfers(blobs, Partials(layout), _keeper(config, layout))
    manifests = ManifestPull(records, flights, partial(datetime.now, UTC))
    return Services(
        upstreams=Upstreams(*_served(config, layout)),
        manifests=manifests,
        blobs=BlobPull(blobs, transfers, ReaderSlots(config.readers), Layers(records), flights),
        listing=Listing(records, flights, manifests),
        upstream_states=lambda: [_state(each, layout) for each in config.upstreams],
        store_state=_store_state(layout),
        readiness=_readiness(layout),
        accel=_accel(layout) if config.http.accel else None,
        guard=_guard(config),
    )


def _store_state(layout: Layout) -> Callable[[], StoreState | None]:
    ledger = SizeLedger(layout)

    def state() -> StoreState | None:
        try:
            room = inventory.disk_space(layout.root)
        except StoreError:
            return None
        return StoreState(ledger.total(), room.total, room.free)

    return state


def _readiness(layout: Layout) -> Callable[[], Readiness]:
    probe = ReadinessProbe(layout)

    def readiness() -> Readiness:
        word = probe.check()
        # Without room pulls are streamed through; a store that is gone or broken is one to send clients away from.
        return Readiness(word != "failing", word)

    return readiness


def _guard(config: Config) -> Guard | None:
    if config.auth is None:
        return None
    return Guard(config.auth.realm, Users(config.auth.path, config.auth.users), Verifier(), Slowdown())


def _accel(layout: Layout) -> Callable[[Digest], str]:
    return lambda digest: nginx.BLOBS + layout.blob(digest).removeprefix(f"{layout.blobs}/")


def _keeper(config: Config, layout: Layout) -> size_keeper.Keeper:
    bounds = _bounds(config, layout)
    process = CleanupProcess(config.root, bounds, config.log.level, config.log.formatter)

    def evict(needed: size_keeper.SpaceNeeded) -> int | None:
        blobs, size, pinned = process.run(needed)
        metrics.count_evictions(blobs, size)
        return pinned

    return size_keeper.Keeper(layout, bounds, evict)


def _bounds(config: Config, layout: Layout) -> Bounds:
    total = inventory.disk_space(layout.root).total
    return Bounds(config.ttl, config.max_size.bytes_of(total), config.min_free.bytes_of(total))


def _state(config: UpstreamConfig, layout: Layout) -> UpstreamState:
    board = SharedHealth(UpstreamNote(layout, config.name), _owner(config))
    limits = board.limits()
    until = limits.blocked_until(counted=True)
    return UpstreamState(
        config.name,
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
        notice = UpstreamNote(layout, each.name)
        down = notice.read().get("down")
        limits = SharedHealth(notice, _owner(each)).limits()
        known = status.Known(each.name, each.remote_url, limits, down if isinstance(down, dict) else {})
        upstreams.append(status.upstream(known, now))
    return status.Report(
        now=now,
        upstreams=upstreams,
        cached=inventory.count(layout),
        transfers=inventory.unfinished(layout),
        root=str(config.root),
        exists=exists,
        room=inventory.disk_space(layout.root),
    )


def nginx_site(
    config: Config, socket: str, listen: Sequence[str], server_name: str, certificate: str, key: str
) -> nginx.Site:
    """Return what nginx in front is told of the cache; ``certificate`` and ``key`` are empty for plain HTTP."""
    return nginx.Site(
        root=str(config.root),
        registries=[Registry(each.name, each.aliases) for each in config.upstreams],
        socket=socket,
        listen=listen,
        server_name=server_name,
        certificate=certificate,
        key=key,
        headers=config.http.headers,
        auth=config.auth is not None,
        read_timeout_seconds=nginx.read_timeout_seconds(each.read_timeout.total_seconds() for each in config.upstreams),
    )


def cleanup(config: Config, now: float, in_time: Callable[[], bool], progress: Progress) -> Cleanup | None:
    """Return a pass of cleanup at ``now``; None where there is no store yet. Raises StoreError."""
    layout = Layout.find(config.root)
    if layout is None:
        return None
    return Cleanup(layout, _bounds(config, layout), now, in_time, progress)


def verify(
    config: Config, task: Task, in_time: Callable[[], bool], progress: VerifyProgress | None = None
) -> Verify | None:
    """Return a look at everything stored; None where there is no store yet. Raises StoreError."""
    layout = Layout.find(config.root)
    return Verify(layout, task, in_time, progress) if layout else None


def images_by_name(config: Config) -> Callable[[str], Image]:
    """Return what finds the image of a name, such as ``ghcr.io/owner/app:1``.

    That raises NameInvalid, NameUnknown, DigestInvalid, ManifestUnknown.
    """
    served = Upstreams(*_served(config, Layout(config.root)))

    def find(text: str) -> Image:
        name, reference = split_image_name(text)
        return Image(served.target(name, {}), reference)

    return find


def warming(config: Config) -> Warm:
    """Return what pulls ahead, as one more worker beside those that run. Raises StoreError."""
    services, layout = build(config), Layout(config.root)
    threads = min(warm.THREADS, config.readers)
    return Warm(services.manifests, services.blobs, Records(layout, Blobs(layout)), Partials(layout), threads)


def exporting(config: Config, *, fetches: bool) -> Export | None:
    """Return what writes archives, and ``fetches`` first what they lack; None where there is no store yet.

    Raises StoreError.
    """
    warms = warming(config) if fetches else None
    layout = Layout.find(config.root)
    if layout is None:
        return None
    blobs = Blobs(layout)
    return Export(Records(layout, blobs), blobs, warms)


def destination(config: Config, upstream: str | None, wanted: str | None) -> Wanted:
    """Return where an import goes: to ``upstream``, None for the default one, or as the repository ``wanted``.

    Raises NameUnknown, NameInvalid, ManifestUnknown for one that nobody could pull from.
    """
    served = Upstreams(*_served(config, Layout(config.root)))
    default = served.named(upstream or config.default_upstream.name).upstream.name

    def find(path: str) -> Place:
        first, slash, _ = path.partition("/")
        # An archive's whole name tells a registry that no default may stand in for.
        whole = slash and ("." in first or ":" in first or first == "localhost")
        target = served.target(path, {}) if whole and served.named(first) else served.target(path, {"ns": default})
        return Place(target.upstream.name, target.repository)

    path, tag = split_wanted(wanted) if wanted else ("", None)
    return Wanted(default, find, find(path) if path else None, tag)


def moving_in(config: Config, *, may_link: bool, rehearses: bool, progress: ImportProgress) -> MovingIn:
    """Return what an import brings things here with; unless it ``rehearses`` the store is made. Raises StoreError."""
    layout = Layout(config.root) if rehearses else Layout.open(config.root)
    if rehearses:
        Layout.find(config.root)
    else:
        require_owner(layout)
    return MovingIn(layout, may_link=may_link, rehearses=rehearses, progress=progress)


def pins(config: Config) -> Pins:
    """Return the pins of the configured store, which is made if need be. Raises StoreError."""
    return Pins(Layout.open(config.root))


def pins_named(config: Config, images: Sequence[str], now: float) -> list[Pin]:
    """Return the pins that an operator means. Raises NameInvalid, NameUnknown, ManifestUnknown, DigestInvalid."""
    served = Upstreams(*_served(config, Layout(config.root)))
    return [pin_of(served, image, now) for image in images]


def pins_held(config: Config) -> list[tuple[Pin, list[PinnedManifest]]]:
    """Return every pin, with what it holds now. Raises StoreError."""
    layout = Layout.find(config.root)
    if layout is None:
        return []
    found = Pins(layout)
    with disk.store_errors("look for what is pinned"):
        return [(pin, list(found.pinned_by(pin))) for pin in found.all()]


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
        check = UpstreamCheck(_check_target(each, keys), _session(each), _account(each))
        steps = check.run(wanted.get(each.name, []), _sample(config, each.name))
        found.append(Checked("upstream", each.name, each.remote_url, steps))
    return found


def _sample(config: Config, upstream: str) -> list[tuple[Repository, Reference]]:
    """Return one tag of an upstream that is cached, if there is any."""
    # What is wrong with the store is told by a check of its own.
    with contextlib.suppress(RegistryError):
        layout = Layout.find(config.root)
        if layout is None:
            return []
        records = Records(layout, Blobs(layout))
        for name in itertools.islice(records.repositories(upstream), _SAMPLED):
            repository = Repository.parse(name)
            if tags := records.tags(upstream, repository):
                return [(repository, Tag.parse(tags[-1]))]
    return []


class SharedHealth:
    """An upstream's state as its workers share it: ``upstream.health.SharedHealth`` over a notice in the store.

    Limits are an account's: those noted for another than ``owner``'s are none of ours. ``without_account`` tells
    whether we go on anonymously though we have one, which has other limits; None: they count however we went on.
    """

    def __init__(self, notice: UpstreamNote, owner: str, without_account: Callable[[], bool] | None = None) -> None:
        self._notice = notice
        self._owner = owner
        self._without_account = without_account

    def limits(self) -> Limits:
        return self._ours(self._notice.read().get("limits"))

    def update_limits(self, change: Callable[[Limits], Limits]) -> Limits:
        # It stays so where the disk takes no note.
        updated = self.limits()

        def replaced(values: object) -> object:
            nonlocal updated
            updated = change(self._ours(values))
            anonymous = self._without_account is not None and self._without_account()
            return {**asdict(updated), "owner": self._owner, "without_account": anonymous}

        self._notice.change("limits", replaced)
        return updated

    def _ours(self, values: object) -> Limits:
        if not isinstance(values, dict) or values.get("owner") != self._owner:
            return Limits()
        if self._without_account is not None and values.get("without_account") != self._without_account():
            return Limits()
        known = {field.name for field in fields(Limits)}
        return Limits(**{name: value for name, value in values.items() if name in known})

    def is_down(self) -> bool:
        return self._notice.read().get("down") is not None

    def put_down(self, since: float | None, cause: str) -> None:
        self._notice.change("down", lambda _: None if since is None else {"since": since, "cause": cause})


def _owner(config: UpstreamConfig) -> str:
    """Return what stands for the account of an upstream in the store: the same for the same one, and no secret."""
    who = [config.remote_url, config.username or "", config.credential_helper or "", config.credential_server]
    return hashlib.sha256("\0".join(who).encode()).hexdigest()[:16]


def _served(config: Config, layout: Layout) -> tuple[ServedUpstream, list[ServedUpstream]]:
    default, *others = (_serve(upstream, layout) for upstream in config.upstreams)
    return default, others


def _serve(config: UpstreamConfig, layout: Layout) -> ServedUpstream:
    tags = TagPolicy(config.tag_max_age, config.tag_timeout.total_seconds())
    return ServedUpstream(_upstream(config, layout), config.aliases, tags, config.pull_fallback)


def _upstream(config: UpstreamConfig, layout: Layout) -> Upstream:
    session = _session(config)
    auth = Authenticator(config.name, config.remote_url, session, _account(config), config.token_realms)
    shared = SharedHealth(UpstreamNote(layout, config.name), _owner(config), lambda: auth.account.is_missing)
    transport = Transport(config.name, config.remote_url, session, auth, Health(config.name, shared))
    return Upstream(transport, config.blob_requests, config.layers_ahead)


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


def _account(config: UpstreamConfig) -> Account:
    if config.credential_helper:
        return CredentialHelper(config.credential_helper, config.credential_server, config.credential_lifetime)
    if config.username and config.password:
        return FixedAccount(Credentials(config.username, config.password.reveal()))
    return FixedAccount(None)
