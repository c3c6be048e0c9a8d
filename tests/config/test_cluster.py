"""The keys of a cluster: Distribution's own for Redis, and ours."""

from __future__ import annotations

import re

import pytest

from registry_cache.config import extras
from registry_cache.config.problems import ConfigError
from tests.harness.config_files import Loader


def test_a_distribution_config_with_redis_shares_downloads(loader: Loader) -> None:
    config = loader.load(
        "http: {secret: s}\n"
        "redis: {addr: 'redis:6380', password: p, db: 2, dialtimeout: 10ms, pool: {maxidle: 16}, tls: {enabled: true}}"
    )

    assert config.shares_downloads
    assert config.redis is not None
    assert (config.redis.host, config.redis.port, config.redis.db) == ("redis", 6380, 2)
    assert config.redis.tls.enabled
    assert (config.cluster.host, config.cluster.port) == ("", 5050)
    assert config.cluster.node
    assert config.ignored == ("redis.dialtimeout", "redis.pool")


def test_without_a_secret_nothing_is_shared_and_a_warning_says_so(loader: Loader) -> None:
    config = loader.load("redis: {addrs: [redis]}")

    assert not config.shares_downloads
    assert config.redis is not None
    assert config.redis.port == 6379
    assert config.warnings == (
        "redis is given and http.secret is not: nodes share no download; give all of them the same one",
    )


def test_peers_are_addresses_of_nodes(loader: Loader) -> None:
    config = loader.load("cluster: {peers: ['http://10.0.0.1:5050', 'https://[fd00::1]:5050']}")
    assert config.cluster.peers == ("http://10.0.0.1:5050", "https://[fd00::1]:5050")
    assert not config.shares_downloads
    assert config.warnings == (
        "cluster.peers is given and http.secret is not: nodes share no download; give all the same one",
    )
    assert loader.load("http: {secret: s}\ncluster: {peers: ['http://10.0.0.1:5050']}").shares_downloads
    with pytest.raises(ConfigError, match=r"cluster\.peers .*'10\.0\.0\.1' is not a valid address for a node"):
        loader.load("cluster: {peers: [10.0.0.1]}")


def test_without_redis_nothing_is_shared(loader: Loader) -> None:
    config = loader.load("http: {secret: s}\ncluster: {node: a}")

    assert not config.shares_downloads
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("text", "path", "told"),
    [
        ("redis: {addrs: [a, b]}", "redis.addrs", "names several"),
        ("redis: {addrs: []}", "redis.addrs", "names none"),
        ("redis: {addrs: ['a b']}", "redis.addrs", "'a b' is not host:port"),
        ("redis: {addr: a, mastername: m}", "redis.mastername", "means Sentinel"),
        ("cluster: {addr: x}", "cluster.addr", "'x' is not host:port"),
        ("http: {addr: ':5000'}\ncluster: {addr: ':5000'}", "cluster.addr", "is http.addr, too"),
        ("cluster: {node: 'a;b'}", "cluster.node", "'a;b' is not a valid name for a node"),
        ("cluster: {standby: 80%}", "cluster.standby", "80% is a share of a disk, not the size of a blob"),
        ("cluster: {advertise: 'ftp://a'}", "cluster.advertise", "'ftp://a' is not a valid address for this node"),
    ],
)
def test_mistakes(loader: Loader, text: str, path: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"{path} .*{re.escape(told)}"):
        loader.load(text)


def test_a_missing_package_is_named_with_what_installs_it(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'registry-cache\[cluster\]'"):
        loader.load("http: {secret: s}\nredis: {addr: a}")
