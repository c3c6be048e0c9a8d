"""Typed values to a Config: the rules between keys, and what a key left out follows from."""

import os
from collections.abc import Mapping
from pathlib import Path

from registry_cache.auth import htpasswd, users
from registry_cache.config import schema
from registry_cache.config.found import Found, dotted
from registry_cache.config.hosts import parse_host
from registry_cache.config.listen import http_config
from registry_cache.config.model import Config, HtpasswdConfig, LogConfig, UpstreamConfig
from registry_cache.config.problems import Wrong
from registry_cache.config.raw import KeyPath
from registry_cache.config.show import in_force
from registry_cache.config.upstream import upstream_config


def build(found: Found, environ: Mapping[str, str], warnings: list[str]) -> Config:
    """The Config of what was found. With problems in ``found.report`` it is only good for finding more of them."""
    default = upstream_config(found, schema.PROXY, None, environ)
    named = _named_upstreams(found, environ)
    _refuse_shared_names(found, {schema.PROXY: default, **named})
    log = LogConfig(found.need(schema.LOG_LEVEL), found.need(schema.LOG_FORMATTER))
    http = http_config(found)
    root = _root(found, environ)
    auth = _auth(found)
    return Config(
        log=log,
        root=root,
        http=http,
        default_upstream=default,
        upstreams=(default, *named.values()),
        ttl=found.need(schema.TTL) or None,
        max_size=found.need(schema.MAX_SIZE),
        min_free=found.need(schema.MIN_FREE),
        auth=auth,
        workers=found.need(schema.WORKERS),
        readers=found.need(schema.READERS),
        graceful_timeout=found.need(schema.GRACEFUL_TIMEOUT),
        source=found.source,
        ignored=tuple(dict.fromkeys(found.ignored)),
        warnings=tuple(warnings),
        in_force=tuple(in_force(found)),
    )


def _root(found: Found, environ: Mapping[str, str]) -> Path:
    root = found.get(schema.ROOT)
    if root is None:
        root = Path("/var/lib") if os.geteuid() == 0 else _data_home(environ)
        root /= "registry-cache"
        found.set(schema.ROOT, root)
    return root


def _data_home(environ: Mapping[str, str]) -> Path:
    """Where the XDG specification puts a user's data; it says to take no notice of a relative XDG_DATA_HOME."""
    given = environ.get("XDG_DATA_HOME", "")
    return Path(given) if given.startswith("/") else Path("/", environ.get("HOME", ""), ".local/share")


def _auth(found: Found) -> HtpasswdConfig | None:
    section, given = ("auth", "htpasswd"), (schema.HTPASSWD_REALM, schema.HTPASSWD_PATH)
    realm, path = found.get(schema.HTPASSWD_REALM), found.get(schema.HTPASSWD_PATH)
    if section not in found.sections or not found.well(*given):
        return None
    if realm and path:
        return HtpasswdConfig(realm, path, _users(found, path))
    missing = [setting.at(()) for setting in given if not found.given(setting)]
    # An operator must not believe that the port is guarded.
    where = missing[0] if len(missing) == 1 else section
    found.wrong(where, "is missing: clients would pull unguarded", "give auth.htpasswd.realm and path, both")
    return None


def _users(found: Found, path: Path) -> Mapping[bytes, bytes]:
    """The htpasswd file's; what is wrong with it is reported, and never what its lines hold."""
    remedy = "add users by: htpasswd -B FILE USER"
    try:
        if hashes := users.read(path):
            return hashes
        reason = f"{path} has no user: nobody could pull"
    except htpasswd.MalformedFile as error:
        reason, remedy = f"{path}: {error}", "mend these lines; htpasswd -B makes right ones"
    except (OSError, ValueError) as error:
        reason = f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
    found.wrong(schema.HTPASSWD_PATH.at(()), reason, remedy)
    return {}


def _named_upstreams(found: Found, environ: Mapping[str, str]) -> dict[KeyPath, UpstreamConfig]:
    named: dict[KeyPath, UpstreamConfig] = {}
    for name in found.upstreams:
        path: KeyPath = (schema.UPSTREAMS, name)
        try:
            named[path] = upstream_config(found, path, parse_host(name), environ)
        except Wrong as wrong:
            found.wrong(path, wrong.what, wrong.remedy)
    return named


def _refuse_shared_names(found: Found, upstreams: Mapping[KeyPath, UpstreamConfig]) -> None:
    """Two upstreams of one name would share a folder, and what one may read the other could."""
    owners: dict[str, KeyPath] = {}
    for mount, upstream in upstreams.items():
        names = (upstream.name, *upstream.aliases)
        if shared := next((name for name in names if name in owners), None):
            found.wrong(
                mount, f"{shared} is already a name of {dotted(owners[shared])}", "give each name to one upstream"
            )
        owners |= dict.fromkeys(names, mount) | owners
