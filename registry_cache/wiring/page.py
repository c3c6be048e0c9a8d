"""Build the page and what it shows: what is counted, and how clients reach this cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from socket import gethostname

from registry_cache import __version__
from registry_cache.api.auth import Guard
from registry_cache.api.health import Readiness
from registry_cache.config import Config
from registry_cache.config.banner import ANY_TO_LOOPBACK
from registry_cache.config.hosts import DEFAULT_PORTS, HUB
from registry_cache.deployment.client_setup import Mirror
from registry_cache.runtime import metrics
from registry_cache.stats.files import StatisticsFiles
from registry_cache.stats.journal_file import JournalBounds
from registry_cache.stats.keeper import Keeper
from registry_cache.stats.nginx_hits import NginxHits
from registry_cache.stats.recorder import Recorder
from registry_cache.stats.statistics import Statistics
from registry_cache.stats.sums import DiskUse
from registry_cache.stats.tally import Tally
from registry_cache.store import inventory
from registry_cache.store.last_use import UseSpreader
from registry_cache.store.layout import Layout
from registry_cache.store.size_ledger import SizeLedger
from registry_cache.ui.blueprint import Door
from registry_cache.ui.facts import Facts, Key, SizeLimits
from registry_cache.ui.nodes import ClusterFacts
from registry_cache.upkeep.glance import Glance, Watcher
from registry_cache.upkeep.repository_details import repository_details, some_tags
from registry_cache.upkeep.survey import Surveyor
from registry_cache.wiring.storage import bounds, store_state
from registry_cache.wiring.upstreams import known_upstreams


def page_of(
    config: Config,
    layout: Layout,
    guard: Guard | None,
    readiness: Callable[[], Readiness],
    cluster: ClusterFacts | None = None,
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
        has_journal=config.statistics.has_journal,
        limits=SizeLimits(limits.max_size, limits.min_free),
        mirror=mirror(config),
        is_address_known=config.http.url is not None,
        configuration=[Key(each.path, each.value, each.origin) for each in config.in_force],
        cluster=cluster,
    )
    url = config.http.url
    names = {*debug.hosts, *([url.name.rpartition(":")[0] or url.name] if url else [])}
    return facts, Door(names, guard.admit if guard and not debug.is_loopback else None)


def recorder_of(config: Config, layout: Layout) -> Recorder:
    kept, files, ledger = config.statistics, StatisticsFiles(layout), SizeLedger(layout)

    def disk_use() -> DiskUse | None:
        state = store_state(layout, ledger)
        limit = config.max_size.bytes_of(state.size) if state else None
        return DiskUse(state.stored or 0, limit or 0, state.free) if state else None

    total = inventory.disk_space(layout.root).total
    bounds = JournalBounds(kept.journal_days if kept.has_journal else 0, kept.journal_size.bytes_of(total) or total)

    def tally() -> Tally:
        return Tally(journal=bounds.is_on, clients=kept.clients)

    def count(hits: Mapping[str, tuple[int, int]]) -> None:
        for kind, (number, size) in hits.items():
            metrics.count_nginx_hits(kind, number, size)

    hits = NginxHits(str(kept.nginx_log), tally(), count, UseSpreader(layout).note_use) if kept.nginx_log else None
    return Recorder(files, Keeper(files, bounds, disk_use), tally(), hits)


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
