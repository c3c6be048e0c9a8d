"""The cluster's configuration: Redis, and the address at which nodes reach each other."""

import re
import socket
from dataclasses import replace

from registry_cache.config.certificates import check_ca
from registry_cache.config.extras import require_extra
from registry_cache.config.given import Given
from registry_cache.config.listen import parse_address
from registry_cache.config.model import ClusterConfig, HttpConfig, RedisConfig, RedisTlsConfig
from registry_cache.config.settings import settings_of

REDIS_PORT = 6379

_REDIS, _CLUSTER = ([setting.path for setting in settings_of(model)] for model in (RedisConfig, ClusterConfig))
_REDIS_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_URL = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")


def redis_config(given: Given, warnings: list[str]) -> RedisConfig | None:
    """Return the ``redis`` section; None where it names no address."""
    if not given.has("redis.addrs") or not given.valid(*_REDIS):
        return None
    addrs = given.value("redis.addrs")
    if len(addrs) != 1:
        said = "names several" if addrs else "names none"
        given.refuse("redis.addrs", said, "name one Redis or Valkey; neither Sentinel nor Cluster is supported")
        return None
    match = _REDIS_ADDRESS.fullmatch(addrs[0])
    if match is None or int(match[2] or 0) > 65535:
        given.refuse("redis.addrs", f"{addrs[0][:80]!r} is not host:port", f"write 10.0.0.5:{REDIS_PORT}")
        return None
    if not given.has("http.secret"):
        warnings.append("redis is given and http.secret is not: nodes share no download; give all of them the same one")
    else:
        require_extra(given, "redis.addrs", "redis")
    tls = given.read(RedisTlsConfig)
    for ca in tls.client_cas:
        check_ca(given, "redis.tls.clientcas", ca)
    return given.read(RedisConfig, tls=tls, host=match[1].strip("[]"), port=int(match[2] or REDIS_PORT))


def cluster_config(given: Given, http: HttpConfig, warnings: list[str]) -> ClusterConfig:
    """Return the ``cluster`` section, whose every key may be left out."""
    cluster = given.read(ClusterConfig, host="", port=0)
    if not given.valid(*_CLUSTER):
        return cluster
    host, port = parse_address(given, "cluster.addr", 5050)
    if given.has("cluster.addr") and http.socket is None and (host, port) == (http.host, http.port) and port:
        given.refuse("cluster.addr", "is http.addr, too", "give it a port of its own, such as :5050")
    if cluster.node is not None and not _NODE.fullmatch(cluster.node):
        given.refuse(
            "cluster.node", f"{cluster.node[:80]!r} is not a valid name for a node", "write letters, digits, . _ and -"
        )
    if cluster.advertise is not None and not _URL.fullmatch(cluster.advertise):
        what = f"{cluster.advertise[:80]!r} is not a valid address for this node"
        given.refuse("cluster.advertise", what, "write one such as http://10.0.0.1:5050")
    for peer in cluster.peers:
        if not _URL.fullmatch(peer):
            what = f"{peer[:80]!r} is not a valid address for a node"
            given.refuse("cluster.peers", what, "write each as its cluster.advertise, such as http://10.0.0.1:5050")
    if cluster.peers and not given.has("http.secret"):
        warnings.append("cluster.peers is given and http.secret is not: nodes share no download; give all the same one")
    if cluster.standby.share:
        what = f"{cluster.standby} is a share of a disk, not the size of a blob"
        given.refuse("cluster.standby", what, "write bytes with their unit, such as 1GB")
    if cluster.ca:
        check_ca(given, "cluster.ca", cluster.ca)
    return replace(cluster, host=host, port=port, node=cluster.node or socket.gethostname() or "node")
