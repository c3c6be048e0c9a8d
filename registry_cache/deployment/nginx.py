"""Render nginx' configuration for a cache behind it: ``nginx.conf.template`` filled with values, for ``conf.d``.

docs/nginx.md says why each unusual line is there.
"""

from __future__ import annotations

import json
import math
import pkgutil
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from registry_cache.deployment.nginx_routes import NO_QUERY, PLAIN_REQUEST, Registry, folder_rules, query_rules
from registry_cache.oci import media_types

# Where the application sends nginx for the bytes of a blob that it has found; below it the blob's path under blobs/.
BLOBS = "/_registry-cache/blobs/"

# Where Debian's logrotate looks for nginx' logs.
LOG = "/var/log/nginx/registry-cache.log"

# nginx gives the application at least so many seconds between two bytes, and as many of upstream's read timeouts as a
# download may survive, one resumption after another. The application gives up by itself; nginx must not do so before.
_LEAST_READ_TIMEOUT_SECONDS = 3600
_RESUMPTIONS = 20

# In the operator's words, because docker prints them.
_ERRORS = {
    400: ("UNSUPPORTED", "this is not a request that a registry can read, or its headers are larger than 8 kB"),
    404: ("NAME_UNKNOWN", "no such URL: this is a registry's pull API, under /v2/"),
    405: ("UNSUPPORTED", "$registry_cache_method is not for a cache: push to the registry itself, and pull here"),
    413: ("SIZE_INVALID", "a pull has no body: push to the registry itself, and pull here"),
    414: ("NAME_INVALID", "this URL is longer than any of a registry's"),
    500: ("UNKNOWN", "this cache failed to answer; nginx' error log says why"),
    503: ("UNAVAILABLE", "the cache behind this server is not running or is restarting: try again"),
    504: ("UNAVAILABLE", "the cache behind this server did not answer: try again"),
}
# The statuses of nginx' that we answer with another one: 494 to 497 are its own; without the application it says 502.
# 494 is a header that is too large, for which podman wants a 400 (P82); 501 and 505 are encodings and versions of HTTP
# that nobody knows.
_NGINX_STATUSES = {400: (400, 494, 495, 496, 497, 501, 505), 503: (502, 503)}
_ERROR_HEADERS = {405: {"Allow": "GET, HEAD"}, 503: {"Retry-After": "2"}, 504: {"Retry-After": "10"}}

_API = {
    "Docker-Distribution-Api-Version": "registry/2.0",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
_EVERYWHERE = {**_API, "X-Request-Id": "$registry_cache_id"}
_DIGEST = "$registry_cache_algorithm:$registry_cache_hex"
_HIT = {
    "Docker-Content-Digest": _DIGEST,
    "ETag": f'"{_DIGEST}"',
    "Cache-Control": "max-age=31536000, immutable",
    "X-Cache": "hit",
    "Content-Disposition": "attachment",
    "OCI-Namespace": "$registry_cache_namespace",
    # The file's date says nothing about the image; "" sends none.
    "Last-Modified": "",
}
# Headers of the application's answer, which nginx drops when it sends the file itself.
_APPLICATION_HEADERS = ("Docker-Content-Digest", "ETag", "X-Cache", "OCI-Namespace")

# For a whole file nginx sends it itself, for a part it does not.
_PART = {"Accept-Ranges": "$registry_cache_part"}


class NginxValueError(ValueError):
    """A value that nginx' configuration cannot hold; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Site:
    """The values that the file is rendered from.

    ``registries``: the default one first. ``listen``: addresses, as nginx writes them. ``certificate`` and ``key``:
    paths, or both empty for plain HTTP. ``auth``: the application asks for a password. ``cors``: it answers OPTIONS.
    ``page``: host and port at which the application shows its page, "" to show none.
    """

    root: str
    registries: Sequence[Registry]
    socket: str
    listen: Sequence[str]
    server_name: str
    certificate: str
    key: str
    headers: Mapping[str, Sequence[str]]
    auth: bool
    cors: bool
    read_timeout_seconds: int
    page: str = ""
    log: str = LOG
    log_buffer: bool = True
    # A folder in memory, because it holds what passwords lead to; and one that nobody but root can make before nginx.
    auth_cache: str = "/run/registry-cache-nginx-auth"


def read_timeout_seconds(upstream_read_timeouts: Iterable[float]) -> int:
    """Return how long the application may be silent, from the read timeouts of its upstreams in seconds."""
    return max(_LEAST_READ_TIMEOUT_SECONDS, math.ceil(_RESUMPTIONS * max(upstream_read_timeouts)))


def render(site: Site) -> str:
    """Return the file. Raises NginxValueError."""
    template = pkgutil.get_data(__package__, "nginx.conf.template") or b""
    return _fill(template.decode(), _values(site))


def _values(site: Site) -> dict[str, object]:
    application = {name: "$upstream_http_" + name.lower().replace("-", "_") for name in _APPLICATION_HEADERS}
    manifest = "/$registry_cache_folder/_manifests/$registry_cache_algorithm/$registry_cache_hex"
    blob = "$registry_cache_folder/_blobs/$registry_cache_algorithm/$registry_cache_hex"
    return {
        "socket": _bare(site.socket),
        "log": quoted(site.log),
        "log_buffer": " buffer=64k flush=1s" if site.log_buffer else "",
        "auth": site.auth,
        # Whoever wants to be somebody else need only say so where nobody asks for a password.
        "user": "$remote_user" if site.auth else "-",
        "cors": site.cors,
        "page": _bare(site.page) if site.page else "",
        # A browser asks by OPTIONS; the application answers that without a login.
        "methods": "GET|HEAD|OPTIONS" if site.cors else "GET|HEAD",
        "auth_cache": quoted(site.auth_cache),
        "query_rules": [asdict(rule) for rule in query_rules(site.registries)],
        "folder_rules": [asdict(rule) for rule in folder_rules(site.registries)],
        "no_query": NO_QUERY,
        "plain_request": PLAIN_REQUEST,
        "listen": [{"address": _bare(address)} for address in site.listen],
        "server_name": _bare(site.server_name),
        "tls": bool(site.certificate),
        "ssl": " ssl" if site.certificate else "",
        "certificate": quoted(site.certificate),
        "key": quoted(site.key),
        "read_timeout_seconds": site.read_timeout_seconds,
        "hit_headers": _headers({**_HIT, **_EVERYWHERE}, site),
        "application_headers": _headers({**_HIT, **application, **_PART, **_EVERYWHERE}, site),
        "blob": quoted(site.root + "/repositories")[:-1] + f'/{blob}"',
        "root": quoted(site.root + "/repositories"),
        "blobs_at": BLOBS,
        "blobs": quoted(site.root + "/blobs/"),
        "types": [{"media_type": each, "extension": media_types.kind_of(each)} for each in _MANIFEST_TYPES],
        "manifests": " ".join(f"{manifest}.{media_types.kind_of(each)}" for each in _MANIFEST_TYPES),
        "errors": [_error(status, site) for status in _ERRORS],
    }


# Only these tell their media type. The first is what most clients that ask by digest ask for: one platform's manifest.
_MANIFEST_TYPES = (
    media_types.OCI_MANIFEST,
    media_types.OCI_INDEX,
    media_types.DOCKER_MANIFEST,
    media_types.DOCKER_INDEX,
)


def quoted(text: str) -> str:
    """Return ``text`` as a word of nginx' that stands for exactly this text. Raises NginxValueError."""
    if "$" in text or not text.isprintable():
        raise NginxValueError(f"{text!r} has a $, or a character that nginx' configuration cannot hold")
    return _word(text)


def _bare(text: str) -> str:
    """Return ``text``, which needs no quotes. Raises NginxValueError."""
    if quoted(text) != f'"{text}"' or set(text) & set(" ;{}'#"):
        raise NginxValueError(f"{text!r} cannot stand in nginx' configuration here")
    return text


def _word(text: str) -> str:
    return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"'))


def _headers(ours: Mapping[str, str], site: Site) -> list[dict[str, str]]:
    """Return these headers and the operator's, which replace ours of the same name."""
    theirs = {name.lower() for name in site.headers}
    found = [{"name": name, "value": _word(value)} for name, value in ours.items() if name.lower() not in theirs]
    return found + [{"name": name, "value": quoted(one)} for name, values in site.headers.items() for one in values]


def _error(status: int, site: Site) -> dict[str, object]:
    code, message = _ERRORS[status]
    body = json.dumps({"errors": [{"code": code, "message": message}]}).replace("'", "\\'")
    return {
        "status": status,
        "statuses": " ".join(map(str, _NGINX_STATUSES.get(status, (status,)))),
        "headers": _headers({**_ERROR_HEADERS.get(status, {}), **_EVERYWHERE}, site),
        "body": f"'{body}'",
    }


# `@name@` is a value. `@if name@` … `@end name@` stays if the value is true. `@each name@` … `@end name@` is repeated
# for each item of a list; within it, the values of the item go before the others.
_TOKEN = re.compile(r"^@(?:if|each) (\w+)@\n(.*?)^@end \1@\n|@(\w+)@", re.MULTILINE | re.DOTALL)


def _fill(text: str, values: Mapping[str, object]) -> str:
    def replace(match: re.Match[str]) -> str:
        block, inside, name = match.groups()
        if name:
            return str(values[name])
        found = values[block]
        items = found if isinstance(found, list) else [{}] if found else []
        return "".join(_fill(inside, {**values, **item}) for item in items)

    return _TOKEN.sub(replace, text)
