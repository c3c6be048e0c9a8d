"""``/metrics`` in Prometheus' format: what the workers have counted, and what is read off the disk at each scrape.

The same from whichever worker. For this machine only, or by ``http.debug.addr``: the names of upstreams and an address
that a limit counts are nobody else's business.
"""

from __future__ import annotations

import ipaddress
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from registry_cache import __version__
from registry_cache.api.health import NO_SUCH_URL, by_debug
from registry_cache.errors import NameUnknown
from registry_cache.runtime import metrics

PATH = "/metrics"


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """What is known of an upstream: ``limit`` and ``remaining`` pulls, None where it never said.

    ``limited_until`` is seconds since the epoch, 0 where it does not limit us.
    """

    name: str
    up: bool
    limit: int | None
    remaining: int | None
    limited_until: float


@dataclass(frozen=True, slots=True)
class StoreState:
    """Bytes: ``stored``, None where nobody has counted yet; ``size`` and ``free`` of the file system that it is on.

    ``cleanup`` and ``verify``: when one last ended, in seconds since the epoch; ``damage``: what the verify has left.
    ``clients_gone``: clients that came regularly and have stopped.
    """

    stored: int | None
    size: int
    free: int
    cleanup: float | None = None
    verify: float | None = None
    damage: int | None = None
    clients_gone: int | None = None


class UpstreamCollector(Collector):
    """``states`` is asked at each scrape."""

    def __init__(self, states: Callable[[], Iterable[UpstreamState]]) -> None:
        self._states = states

    def collect(self) -> Iterator[GaugeMetricFamily]:
        up = GaugeMetricFamily("registry_cache_upstream_up", "1 while the upstream answers", labels=["upstream"])
        limit = GaugeMetricFamily(
            "registry_cache_upstream_pull_limit", "Pulls that it allows in its window", labels=["upstream"]
        )
        remaining = GaugeMetricFamily(
            "registry_cache_upstream_pulls_left", "Pulls left of it when it last said", labels=["upstream"]
        )
        until = GaugeMetricFamily(
            "registry_cache_upstream_limited_until_seconds", "Until when it refuses pulls; 0: not", labels=["upstream"]
        )
        for state in self._states():
            up.add_metric([state.name], float(state.up))
            until.add_metric([state.name], state.limited_until)
            if state.limit is not None:
                limit.add_metric([state.name], state.limit)
            if state.remaining is not None:
                remaining.add_metric([state.name], state.remaining)
        yield from (up, limit, remaining, until)


# A field of StoreState, and the metric that tells it.
_STORE_GAUGES = (
    ("stored", "registry_cache_store_bytes", "Bytes stored and on their way, about"),
    ("size", "registry_cache_filesystem_size_bytes", "Size of the store's file system"),
    ("free", "registry_cache_filesystem_free_bytes", "What of it is free to the server"),
    ("cleanup", "registry_cache_last_cleanup_timestamp_seconds", "When a cleanup last came to its end"),
    ("verify", "registry_cache_last_verify_timestamp_seconds", "When a verify last ended"),
    ("damage", "registry_cache_verify_faults", "Faults that the last verify found and did not repair"),
    ("clients_gone", "registry_cache_clients_gone", "Clients that came regularly and have stopped"),
)


class StoreCollector(Collector):
    """``state`` is asked at each scrape, and returns None where the disk does not tell."""

    def __init__(self, state: Callable[[], StoreState | None]) -> None:
        self._state = state

    def collect(self) -> Iterator[GaugeMetricFamily]:
        state = self._state()
        for field, name, words in _STORE_GAUGES:
            family = GaugeMetricFamily(name, words)
            value = getattr(state, field) if state else None
            if value is not None:
                family.add_metric([], value)
            yield family


@dataclass(frozen=True, slots=True)
class BucketState:
    """What the bucket has yet to get: ``entries``, the oldest of which has waited for ``oldest_seconds``."""

    entries: int
    oldest_seconds: float


class BucketCollector(Collector):
    """``state`` is asked at each scrape, and returns None without a bucket, or where the disk does not tell."""

    def __init__(self, state: Callable[[], BucketState | None]) -> None:
        self._state = state

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if state := self._state():
            entries = GaugeMetricFamily("registry_cache_outbox_entries", "What the bucket has yet to get")
            entries.add_metric([], state.entries)
            oldest = GaugeMetricFamily("registry_cache_outbox_oldest_seconds", "How long the oldest of it has waited")
            oldest.add_metric([], state.oldest_seconds)
            yield from (entries, oldest)


class BuildCollector(Collector):
    """Which version this is."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        build = GaugeMetricFamily("registry_cache_build_info", "Always 1", labels=["version", "python"])
        build.add_metric([__version__, platform.python_version()], 1)
        yield build


def blueprint(
    states: Callable[[], Iterable[UpstreamState]],
    store: Callable[[], StoreState | None],
    debug_path: str | None = None,
    bucket: Callable[[], BucketState | None] = lambda: None,
) -> Blueprint:
    """Return the routes of the metrics, also under ``debug_path`` for who comes by ``http.debug.addr``."""
    routes = Blueprint("metrics", __name__)
    collectors = (BuildCollector(), StoreCollector(store), UpstreamCollector(states), BucketCollector(bucket))

    def scrape() -> Response:
        path = debug_path if by_debug(request) else PATH if _from_this_machine() else None
        if request.path != path:
            raise NameUnknown(NO_SUCH_URL)
        response = Response(generate_latest(_registry(collectors)))
        response.headers["Content-Type"] = CONTENT_TYPE_LATEST
        return response

    for path in {PATH, debug_path or PATH}:
        routes.add_url_rule(path, view_func=scrape)
    return routes


def _registry(collectors: Iterable[Collector]) -> CollectorRegistry:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(metrics.REGISTRY)
    return registry


def _from_this_machine() -> bool:
    """Return whether the client itself runs on this machine, and not only a proxy in front of it."""
    if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False
    try:
        return ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False
