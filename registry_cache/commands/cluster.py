"""The cluster, as ``status --cluster`` shows it and ``check`` tries it: Redis, and all other nodes both ways."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.membership import ClusterNode
from registry_cache.commands.command import CommandError
from registry_cache.config import Config
from registry_cache.pull.cluster.nodes import Cluster
from registry_cache.runtime.check_step import Step
from registry_cache.stats.statistics import Statistics
from registry_cache.store.layout import Layout
from registry_cache.upkeep.cluster_text import UNSEEN_SECONDS, ClusterReport
from registry_cache.upstream.peer import PeerFailed, PeerRefused, PeerSilent
from registry_cache.wiring.nodes import cluster_of

# Nodes refuse requests that are signed further away in time; half of it is worth a warning.
_SKEW_SECONDS = 150.0
_UNREACHED = (PeerRefused, PeerFailed, PeerSilent)


def read_cluster(config: Config) -> ClusterReport:
    """Return what Redis knows of all nodes. Raises CommandError where there is none, or it does not answer."""
    cluster = _cluster(config)
    if cluster is None:
        raise CommandError(f"this node shares nothing: {_missing(config)}")
    if config.redis is None:
        raise CommandError("there is no Redis to ask: registry-cache check tries the nodes in cluster.peers")
    now = datetime.now(UTC).astimezone()
    try:
        nodes, _ = cluster.membership.look()
        leases = cluster.leases.all()
    except RedisAway as away:
        raise CommandError(f"{away}; registry-cache check says more", 1) from away
    return ClusterReport(redis_name(config), nodes, leases, now)


def _missing(config: Config) -> str:
    if config.redis or config.cluster.peers:
        return "http.secret is not given"
    return f"neither redis.addrs nor cluster.peers is given{'' if config.http.secret else ', nor http.secret'}"


def redis_name(config: Config) -> str:
    return f"{config.redis.host}:{config.redis.port}" if config.redis else ""


def check_cluster(config: Config) -> Iterator[Step]:
    """Try Redis and every node; nothing where this one shares nothing."""
    cluster = _cluster(config)
    if cluster is None:
        return
    if config.redis is None:
        yield from _peers(cluster, config.cluster.peers)
        return
    try:
        now = cluster.membership.redis_time()
        nodes, strangers = cluster.membership.look()
    except RedisAway as away:
        remedy = away.remedy or "check that it runs, and that it can be reached from here"
        yield Step("redis", "failed", str(away), f"{remedy}; meanwhile each node pulls for itself")
        return
    yield Step("redis", "ok", "it answers")
    yield _clock(now - time.time())
    for name in strangers:
        words = f"{name} has another http.secret, or its name was not written by one of our nodes"
        yield Step("secret", "warning", words, "give all nodes the same http.secret")
    for node in nodes:
        yield from _node(cluster, node, time.time())


def _peers(cluster: Cluster, peers: Sequence[str]) -> Iterator[Step]:
    """Try the nodes of which the configuration alone tells."""
    ours = cluster.leases.url
    if ours not in peers:
        remedy = "set cluster.advertise, and the same list on all nodes"
        yield Step("peers", "warning", f"this node is {ours}, which cluster.peers does not name", remedy)
    for url in peers:
        if url == ours:
            continue
        try:
            cluster.peers.ping(url)
        except _UNREACHED as error:
            yield _unreached("peers", url, error, "check that it runs, and allow access to its cluster.addr")
        else:
            yield Step("peers", "ok", f"we reach {url}")


def _clock(skew: float) -> Step:
    if abs(skew) < _SKEW_SECONDS:
        return Step("clock", "ok", f"this machine's and that of Redis are {abs(skew):.0f} s apart")
    return Step(
        "clock", "warning", f"this machine's and that of Redis are {abs(skew):.0f} s apart", "set them with NTP"
    )


def _node(cluster: Cluster, node: ClusterNode, now: float) -> Iterator[Step]:
    """Ask a node, and let it ask us."""
    if node.name == cluster.leases.node:
        return
    if now - node.seen_at > UNSEEN_SECONDS:
        yield Step(
            node.name, "warning", f"it has not been seen for {now - node.seen_at:.0f} s", "check whether it runs"
        )
        return
    try:
        back = cluster.peers.reaches(node.url, cluster.leases.node)
    except _UNREACHED as error:
        yield _unreached(node.name, node.url, error, "allow access to its cluster.addr, or set cluster.advertise there")
    else:
        yield Step(node.name, "ok", f"we reach {node.url}")
        yield _way_back(cluster, node, back)


def _unreached(name: str, url: str, error: Exception, remedy: str) -> Step:
    """Return the step of a node that was asked and did not answer; ``remedy`` unless it refused us."""
    if isinstance(error, PeerRefused):
        return Step(name, "failed", f"{url} refused us: {error}", "compare http.secret, the clocks, and the versions")
    return Step(name, "failed", f"we cannot reach {url}: {error}", remedy)


def _way_back(cluster: Cluster, node: ClusterNode, trouble: str) -> Step:
    if not trouble:
        return Step(node.name, "ok", f"it reaches us at {cluster.leases.url}")
    words = f"it cannot reach us at {cluster.leases.url}: {trouble}"
    return Step(
        node.name, "failed", words, "start this node, allow access to its cluster.addr, or set cluster.advertise"
    )


def _cluster(config: Config) -> Cluster | None:
    return cluster_of(config, Statistics(Layout(config.root)))
