"""Build the page and what it shows: what is counted, and how clients reach this cache."""

from __future__ import annotations

from collections.abc import Callable
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
from registry_cache.stats.statistics import Statistics
from registry_cache.store.layout import Layout
from registry_cache.ui.blueprint import Door
from registry_cache.ui.facts import Facts, Key, SizeLimits
from registry_cache.ui.nodes import ClusterFacts
from registry_cache.upkeep.live_status import Glance, Watcher
from registry_cache.upkeep.repository_details import repository_details, some_tags
from registry_cache.upkeep.survey import Surveyor
from registry_cache.wiring.storage import bounds
from registry_cache.wiring.upstreams import known_upstreams


def page_of(
    config: Config,
    layout: Layout,
    statistics: Statistics,
    guard: Guard | None,
    readiness: Callable[[], Readiness],
    cluster: ClusterFacts | None,
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
        statistics=statistics,
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
    plain = {each.name for each in config.upstreams if each.remote_url == f"http://{each.name}"}
    return Mirror(url, names, needs_login=config.auth is not None, plain=plain)
