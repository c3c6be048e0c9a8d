"""Turn typed values into a Config: apply the rules between keys, and derive what is not given."""

import os
from collections.abc import Mapping
from pathlib import Path

from registry_cache.auth import htpasswd, users
from registry_cache.config import schema
from registry_cache.config.bucket import s3_config
from registry_cache.config.cluster import cluster_config, redis_config
from registry_cache.config.given import Given, dotted
from registry_cache.config.hosts import parse_host
from registry_cache.config.listen import http_config
from registry_cache.config.model import Config, HtpasswdConfig, UpstreamConfig
from registry_cache.config.problems import InvalidValue
from registry_cache.config.raw import KeyPath
from registry_cache.config.readable import cannot_read
from registry_cache.config.show import in_force
from registry_cache.config.upstream import upstream_config

_HTPASSWD = ("auth.htpasswd.realm", "auth.htpasswd.path")


def build(given: Given, upstreams: tuple[str, ...], environ: Mapping[str, str], warnings: list[str]) -> Config:
    """Return the Config of what was given. With ``given.problems`` it is only good for finding more of them."""
    default = upstream_config(given.under(schema.PROXY), None, environ)
    named = _named_upstreams(given, upstreams, environ)
    _refuse_shared_names(given, {schema.PROXY: default, **named})
    _refuse_too_much_reserved(given, (default, *named.values()))
    http = http_config(given)
    if given.value(schema.ROOT) is None:
        given.set(schema.ROOT, _default_root(environ))
    s3 = s3_config(given)
    if s3 is None and given.has("storage.redirect.disable") and not given.value("storage.redirect.disable"):
        given.ignored.append("storage.redirect")
    return given.read(
        Config,
        s3=s3,
        http=http,
        redis=redis_config(given, warnings),
        cluster=cluster_config(given, http, warnings),
        auth=_auth(given),
        ttl=given.value("proxy.ttl") or None,
        default_upstream=default,
        upstreams=(default, *named.values()),
        source=given.source,
        ignored=tuple(dict.fromkeys(given.ignored)),
        warnings=tuple(warnings),
        in_force=tuple(in_force(given)),
    )


def _default_root(environ: Mapping[str, str]) -> Path:
    return (Path("/var/lib") if os.geteuid() == 0 else _data_home(environ)) / "registry-cache"


def _data_home(environ: Mapping[str, str]) -> Path:
    """Return where the XDG specification puts a user's data; it says to ignore a relative XDG_DATA_HOME."""
    given = environ.get("XDG_DATA_HOME", "")
    return Path(given) if given.startswith("/") else Path("/", environ.get("HOME", ""), ".local/share")


def _auth(given: Given) -> HtpasswdConfig | None:
    section = ("auth", "htpasswd")
    if section not in given.sections or not given.valid(*_HTPASSWD):
        return None
    missing = [path for path in _HTPASSWD if not given.has(path)]
    if not missing:
        return given.read(HtpasswdConfig, users=_users(given))
    # An operator must not believe that the port is guarded.
    where = missing[0] if len(missing) == 1 else dotted(section)
    given.refuse(where, "is missing: clients would pull unguarded", "give auth.htpasswd.realm and path, both")
    return None


def _users(given: Given) -> Mapping[bytes, bytes]:
    """Return the htpasswd file's users; what is wrong with it is reported, and never what its lines hold."""
    path = given.value("auth.htpasswd.path")
    remedy = "add users with: htpasswd -B FILE USER"
    try:
        if hashes := users.read(path):
            return hashes
        reason = f"{path} has no user: nobody could pull"
    except htpasswd.MalformedFile as error:
        reason, remedy = f"{path}: {error}", "correct these lines; htpasswd -B writes valid ones"
    except FileNotFoundError as error:
        reason, remedy = f"cannot read {path}: {error.strerror}", "create it with: htpasswd -B -c FILE USER"
    except PermissionError as error:
        refusal = cannot_read(str(path), error)
        reason, remedy = refusal.what, refusal.remedy
    except (OSError, ValueError) as error:
        reason = f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
    given.refuse("auth.htpasswd.path", reason, remedy)
    return {}


def _named_upstreams(
    given: Given, upstreams: tuple[str, ...], environ: Mapping[str, str]
) -> dict[KeyPath, UpstreamConfig]:
    named: dict[KeyPath, UpstreamConfig] = {}
    for name in upstreams:
        path: KeyPath = (schema.UPSTREAMS, name)
        try:
            named[path] = upstream_config(given.under(path), parse_host(name), environ)
        except InvalidValue as error:
            given.refuse_at(path, error.what, error.remedy)
    return named


def _refuse_too_much_reserved(given: Given, upstreams: tuple[UpstreamConfig, ...]) -> None:
    """A size of which all is reserved could not be held. Bytes and shares of a disk cannot be compared here."""
    most = given.value("storage.max_size")
    sizes = [each.reserved_size.amount for each in upstreams if each.reserved_size.share == most.share]
    if most and sum(sizes) > most.amount:
        given.refuse(
            "storage.max_size",
            "is less than what reserved_size reserves for upstreams",
            "reserve less, or give the store more",
        )


def _refuse_shared_names(given: Given, upstreams: Mapping[KeyPath, UpstreamConfig]) -> None:
    """Two upstreams of one name would share a folder, and what one may read the other could."""
    owners: dict[str, KeyPath] = {}
    for mount, upstream in upstreams.items():
        names = (upstream.name, *upstream.aliases)
        if shared := next((name for name in names if name in owners), None):
            what = f"{shared} is already a name of {dotted(owners[shared])}"
            given.refuse_at(mount, what, "give each name to one upstream")
        owners |= dict.fromkeys(names, mount) | owners
