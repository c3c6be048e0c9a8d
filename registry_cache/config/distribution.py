"""CNCF Distribution's keys that we do not have: accepted without effect, or refused because ignoring them does harm."""

import re
from dataclasses import dataclass

from registry_cache.config.raw import Raw, Scalar

# Accepted, and true here anyway: nothing to log.
QUIET = ("storage.delete",)
# They mean nothing here. They are accepted, with whatever is below them, and named once.
IGNORED = (
    "log.accesslog", "log.fields", "log.hooks", "log.reportcaller",
    "storage.filesystem.maxthreads", "storage.cache", "storage.maintenance", "storage.tag",
    "storage.s3.v4auth", "storage.s3.loglevel", "storage.s3.logs3apiresponseheaders",
    "storage.s3.multipartcopychunksize", "storage.s3.multipartcopymaxconcurrency",
    "storage.s3.multipartcopythresholdsize",
    "middleware", "reporting", "http.relativeurls",
    "http.http2", "http.h2c", "notifications",
    "redis.clientname", "redis.protocol", "redis.maxretries", "redis.minretrybackoff", "redis.maxretrybackoff",
    "redis.dialtimeout", "redis.readtimeout", "redis.writetimeout", "redis.contexttimeoutenabled", "redis.pool",
    "redis.poolfifo", "redis.poolsize", "redis.pooltimeout", "redis.minidleconns", "redis.maxidleconns",
    "redis.maxactiveconns", "redis.connmaxidletime", "redis.connmaxlifetime", "redis.maxredirects", "redis.readonly",
    "redis.routebylatency", "redis.routerandomly", "redis.disableindentity", "redis.identitysuffix",
    "redis.unstableresp3",
    "health.storagedriver", "health.file", "health.http", "health.tcp", "proxy.cachewritetimeout",
    "catalog", "tags", "compatibility", "validation", "policy",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RefusedKey:
    """A key that would lose data or protection if it were ignored.

    ``harmless``: the values with which it is accepted all the same, as an empty one is; None: no value is accepted.
    """

    what: str
    remedy: str
    harmless: tuple[str, ...] | None = None


_STORAGE_DRIVERS = ("azure", "gcs", "inmemory", "oss", "s3aws", "swift", "rados")
_OTHER_DRIVER = RefusedKey(
    "is another storage driver", "this cache stores in a folder: storage.filesystem.rootdirectory"
)
_SENTINEL = RefusedKey("means Sentinel, which is not supported", "name one Redis or Valkey by redis.addrs", harmless=())
_OTHER_AUTH = RefusedKey(
    "is not served: clients would pull unguarded",
    "remove it, and give auth.htpasswd, or guard the port by a firewall or a proxy in front",
)
REFUSED = {
    **{f"storage.{driver}": _OTHER_DRIVER for driver in _STORAGE_DRIVERS},
    "redis.mastername": _SENTINEL,
    "redis.sentinelusername": _SENTINEL,
    "redis.sentinelpassword": _SENTINEL,
    "auth.token": _OTHER_AUTH,
    "auth.silly": _OTHER_AUTH,
    "http.tls.letsencrypt": RefusedKey(
        "is not served: certificates are not fetched here", "give http.tls.certificate and http.tls.key", harmless=()
    ),
    "proxy.remotenamespace": RefusedKey(
        "is not served: a repository has the name here that it has upstream",
        "remove it, and let clients write the whole name",
        harmless=(),
    ),
    "http.prefix": RefusedKey(
        "is not served: clients find /v2/ only at the root",
        "remove it, and strip it in a proxy in front",
        harmless=("/",),
    ),
}
# The short form `storage: filesystem` means the section with that one key.
SHORT_FORMS = ("storage", "auth")
_WORD = re.compile(r"[A-Za-z0-9_]+", re.ASCII)


def expand_short_forms(tree: Raw) -> Raw:
    """Return the tree with each short form written as a section."""
    if not isinstance(tree, dict):
        return tree
    return {
        key: {value.text: None}
        if key in SHORT_FORMS and isinstance(value, Scalar) and _WORD.fullmatch(value.text)
        else value
        for key, value in tree.items()
    }
