"""nginx' configuration for a server behind it: a file for ``conf.d``, from values. Why each odd line: docs/nginx.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from registry_cache.deployment.nginx_routes import NO_QUERY, PLAINLY, Registry, Rule, folder_rules, query_rules
from registry_cache.deployment.nginx_text import AUTH_CACHE, AUTH_LOCATIONS, ERROR, FILE, TLS
from registry_cache.oci import media_types

# Where the application sends nginx for the bytes of a blob that it has found; below it the blob's path under blobs/.
BLOBS = "/_registry-cache/blobs/"

# In the operator's words, because docker prints them; "" where the application's own answer is in order.
_ERRORS = {
    400: ("UNSUPPORTED", "this is no request that a registry can read"),
    404: ("NAME_UNKNOWN", "no such URL: this is a registry's pull API, under /v2/"),
    405: ("UNSUPPORTED", "$registry_cache_method is not for a cache: push to the registry itself, and pull here"),
    413: ("SIZE_INVALID", "a pull has no body: push to the registry itself, and pull here"),
    414: ("NAME_INVALID", "this URL is longer than any of a registry's"),
    431: ("UNSUPPORTED", "the headers of this request are larger than 8 kB"),
    500: ("UNKNOWN", "this cache failed to answer; nginx' error log says why"),
    503: ("UNAVAILABLE", "the cache behind this server is not running or is restarting: try again"),
    504: ("UNAVAILABLE", "the cache behind this server did not answer: try again"),
}
# What nginx says where we say something else: 494 to 497 are its own; without the application it says 502.
_INSTEAD = {400: (400, 495, 496, 497), 431: (494,), 500: (500, 501, 505), 503: (502, 503)}
_MORE = {405: {"Allow": "GET, HEAD"}, 503: {"Retry-After": "2"}, 504: {"Retry-After": "10"}}

_API = {"Docker-Distribution-Api-Version": "registry/2.0", "X-Content-Type-Options": "nosniff"}
_EVERYWHERE = {**_API, "X-Request-Id": "$registry_cache_id"}
_DIGEST = "$registry_cache_algorithm:$registry_cache_hex"
_HIT = {
    "Docker-Content-Digest": _DIGEST,
    "ETag": f'"{_DIGEST}"',
    "Cache-Control": "max-age=31536000, immutable",
    "X-Cache": "hit",
    "OCI-Namespace": "$registry_cache_namespace",
    # A date of ours says nothing of an image; empty: none is sent.
    "Last-Modified": "",
}
# The application's, which nginx drops when it sends the file itself.
_SENT = ("Docker-Content-Digest", "ETag", "X-Cache", "OCI-Namespace")

# Of a whole file nginx says so itself, of a part it does not.
_PART = {"Accept-Ranges": "$registry_cache_part"}


class NotForNginx(ValueError):
    """A value that nginx' configuration cannot hold; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the file is made from.

    ``registries``: the default one first. ``listen``: addresses, as nginx writes them. ``certificate`` and ``key``:
    paths, or both empty for plain HTTP. ``auth``: the application asks for a password. ``patience``: seconds that the
    application may be silent.
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
    patience: int
    log: str = "/var/log/nginx/registry-cache.log"
    log_buffer: bool = True
    # Memory, for what is there is a password's; and where nobody but root can have made the folder before nginx does.
    auth_cache: str = "/run/registry-cache-nginx-auth"


def render(site: Site) -> str:
    """Return the file. Raises NotForNginx."""
    tls = _fill(TLS, {"certificate": quoted(site.certificate), "key": quoted(site.key)}) if site.certificate else ""
    return _fill(
        FILE,
        {
            "socket": _plain(site.socket),
            "log": quoted(site.log),
            "log_buffer": " buffer=64k flush=1s" if site.log_buffer else "",
            "auth_cache": _fill(AUTH_CACHE, {"folder": quoted(site.auth_cache)}) if site.auth else "",
            "queries": _rules(query_rules(site.registries)),
            "no_query": NO_QUERY,
            "plainly": PLAINLY,
            "folders": _rules(folder_rules(site.registries)),
            "listen": "".join(f"    listen {_plain(at)}{' ssl' if tls else ''};\n" for at in site.listen),
            "server_name": _plain(site.server_name),
            "tls": tls,
            "patience": str(site.patience),
            "hit": _headers({**_HIT, **_EVERYWHERE}, site),
            "sent": _headers({**_HIT, **{each: _sent(each) for each in _SENT}, **_PART, **_EVERYWHERE}, site),
            "guard": "        auth_request /_registry-cache/auth;\n" if site.auth else "",
            "auth": AUTH_LOCATIONS if site.auth else "",
            "blob": quoted(site.root + "/repositories")[:-1] + f'/{_BLOB}"',
            "root": quoted(site.root + "/repositories"),
            "blobs_at": BLOBS,
            "blobs": quoted(site.root + "/blobs/"),
            "types": "".join(f"            {kind} {_extension(kind)};\n" for kind in _TYPES),
            "kinds": " ".join(f"{_MANIFEST}.{_extension(kind)}" for kind in _TYPES),
            "error_pages": "".join(_error_page(status) for status in _ERRORS),
            "errors": "".join(_error(status, site) for status in _ERRORS),
        },
    )


# Those that tell the media type. Most who ask by digest ask for one platform's manifest.
_TYPES = (media_types.OCI_MANIFEST, media_types.OCI_INDEX, media_types.DOCKER_MANIFEST, media_types.DOCKER_INDEX)
_BLOB = "$registry_cache_folder/_blobs/$registry_cache_algorithm/$registry_cache_hex"
_MANIFEST = "/$registry_cache_folder/_manifests/$registry_cache_algorithm/$registry_cache_hex"


def quoted(text: str) -> str:
    """Return ``text`` as one of nginx' words, to be read as it is. Raises NotForNginx."""
    if "$" in text or not text.isprintable():
        raise NotForNginx(f"{text!r} holds a $ or a sign that nginx' configuration cannot hold")
    return _word(text)


def _plain(text: str) -> str:
    """Return what needs no quotes. Raises NotForNginx."""
    if quoted(text) != f'"{text}"' or set(text) & set(" ;{}'#"):
        raise NotForNginx(f"{text!r} is no word that nginx' configuration can hold here")
    return text


def _word(text: str) -> str:
    return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"'))


def _extension(media_type: str) -> str:
    return media_types.kind_of(media_type)


def _sent(header: str) -> str:
    return "$upstream_http_" + header.lower().replace("-", "_")


def _headers(ours: Mapping[str, str], site: Site, always: str = "") -> str:
    """Return the lines of these headers, and of the operator's, which go before ours of the same name."""
    theirs = {name.lower() for name in site.headers}
    lines = [(name, _word(value)) for name, value in ours.items() if name.lower() not in theirs]
    lines += [(name, quoted(value)) for name, values in site.headers.items() for value in values]
    return "".join(f"        add_header {name} {value}{always};\n" for name, value in lines)


def _rules(rules: Iterable[Rule]) -> str:
    return "".join(f'    "~{rule.pattern}" "{rule.folder}";\n' for rule in rules)


def _error_page(status: int) -> str:
    said = _INSTEAD.get(status, (status,))
    return f"    error_page {' '.join(map(str, said))} ={status} /_registry-cache/errors/{status};\n"


def _error(status: int, site: Site) -> str:
    headers = _headers({**_MORE.get(status, {}), **_EVERYWHERE}, site, " always")
    return _fill(ERROR, {"status": str(status), "headers": headers, "body": _body(status)})


def _body(status: int) -> str:
    code, message = _ERRORS[status]
    return "'{}'".format(json.dumps({"errors": [{"code": code, "message": message}]}).replace("'", "\\'"))


def _fill(text: str, values: Mapping[str, str]) -> str:
    """Return ``text`` with ``@name@`` replaced; a line that holds nothing but an empty one's name goes."""
    for name, value in values.items():
        text = text.replace(f"@{name}@\n", value) if value.endswith("\n") or not value else text
        text = text.replace(f"@{name}@", value)
    return text
