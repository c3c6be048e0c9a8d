"""``/metrics`` in Prometheus' format: how upstreams are and how many pulls they leave us.

Read from what the workers share on disk, so that whichever worker is asked tells the same. For this machine only: the
names of upstreams and an address that a limit counts are nobody else's business.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from registry_cache.errors import NameUnknown


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


class _Upstreams(Collector):
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


def blueprint(states: Callable[[], Iterable[UpstreamState]]) -> Blueprint:
    """Return the route of the metrics; ``states`` is asked at each scrape."""
    routes = Blueprint("metrics", __name__)
    registry = CollectorRegistry()
    registry.register(_Upstreams(states))

    @routes.get("/metrics")
    def metrics() -> Response:
        if not _from_this_machine():
            raise NameUnknown("no such URL: this is a registry's pull API, under /v2/")
        response = Response(generate_latest(registry))
        response.headers["Content-Type"] = CONTENT_TYPE_LATEST
        return response

    return routes


def _from_this_machine() -> bool:
    """Tell whether the client itself is here, and not a proxy that is here for somebody else."""
    if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False
    try:
        return ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False
