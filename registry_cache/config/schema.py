"""Every key there is, as data. Parsing, environment names, printing and the documents' test all follow from here.

A default is written as the file would hold it and read by the key's own parser, so that it cannot be invalid and
docs/configuration.md can be held to it word by word.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Generic, Literal, TypeAlias, TypeVar

from registry_cache.config import values
from registry_cache.config.hosts import Remote
from registry_cache.config.raw import KeyPath, Raw, Scalar
from registry_cache.config.secret import Secret
from registry_cache.config.sizes import Size

T_co = TypeVar("T_co", covariant=True)
Level: TypeAlias = Literal["error", "warn", "info", "debug"]
Formatter: TypeAlias = Literal["text", "json"]
Fallback: TypeAlias = Literal["honest", "unavailable", "notfound"]
ClientAuth: TypeAlias = Literal["none", "optional", "required"]
TlsVersion: TypeAlias = Literal["tls1.2", "tls1.3"]

PREFIX = "REGISTRY"
PROXY: KeyPath = ("proxy",)
UPSTREAMS = "upstreams"

LEVELS: dict[str, Level] = {"error": "error", "warn": "warn", "info": "info", "debug": "debug"}
FORMATTERS: dict[str, Formatter] = {"text": "text", "json": "json", "logstash": "json"}
FALLBACKS: dict[str, Fallback] = {"honest": "honest", "unavailable": "unavailable", "notfound": "notfound"}
TLS_VERSIONS: dict[str, TlsVersion] = {"tls1.2": "tls1.2", "tls1.3": "tls1.3"}
# Distribution takes these as well; what they would allow beside the default is not served.
OLD_TLS_VERSIONS: dict[str, TlsVersion] = {"tls1.0": "tls1.2", "tls1.1": "tls1.2"}
# Distribution's fourth word, require-any-client-cert, asks for a certificate and believes any: OpenSSL cannot.
CLIENT_AUTHS: dict[str, ClientAuth] = {
    "request-client-cert": "none",
    "verify-client-cert-if-given": "optional",
    "require-and-verify-client-cert": "required",
}
# Go's names for what OpenSSL calls otherwise; those of TLS 1.3 are always on in both, hence "".
CIPHERS = {
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
}


# Go's names for what has no forward secrecy, no AEAD, or neither: read, and not served.
WEAK_CIPHERS = tuple(
    f"TLS_{rest}"
    for rest in (
        *(f"RSA_WITH_{cipher}" for cipher in ("RC4_128_SHA", "3DES_EDE_CBC_SHA", "AES_128_CBC_SHA", "AES_256_CBC_SHA")),
        *(f"RSA_WITH_{cipher}" for cipher in ("AES_128_CBC_SHA256", "AES_128_GCM_SHA256", "AES_256_GCM_SHA384")),
        *(
            f"ECDHE_{key}_WITH_{cipher}"
            for key in ("RSA", "ECDSA")
            for cipher in ("RC4_128_SHA", "AES_128_CBC_SHA", "AES_256_CBC_SHA", "AES_128_CBC_SHA256")
        ),
        "ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    )
)


# No slots: with them a frozen generic class cannot be made as Setting[T](…).
@dataclass(frozen=True)
class Setting(Generic[T_co]):
    """One key that is acted upon. ``path`` is relative to where it is mounted: the file's top, or an upstream.

    ``structured``: its environment value is YAML; any other's is the text itself, so a password needs no quoting.
    """

    path: str
    parse: values.Parser[T_co]
    default_text: str = ""
    structured: bool = False
    default: T_co | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.default_text:
            object.__setattr__(self, "default", self.parse(Scalar(self.default_text)))

    def at(self, mount: KeyPath) -> KeyPath:
        return (*mount, *self.path.split("."))


VERSION = Setting[str]("version", values.version, "0.1")
LOG_LEVEL = Setting[Level]("log.level", values.choice(LEVELS), "info")
LOG_FORMATTER = Setting[Formatter]("log.formatter", values.choice(FORMATTERS), "text")
ROOT = Setting[Path]("storage.filesystem.rootdirectory", values.path)
MAX_SIZE = Setting[Size]("storage.max_size", values.size, "0")
MIN_FREE = Setting[Size]("storage.min_free", values.size, "0")
HTTP_ADDR = Setting[str]("http.addr", values.line, "127.0.0.1:5000")
HTTP_NET = Setting[str]("http.net", values.word(("tcp", "unix")), "tcp")
HTTP_HEADERS = Setting[dict[str, tuple[str, ...]]]("http.headers", values.headers, structured=True)
HTTP_ACCEL = Setting[bool]("http.accel", values.boolean, "false")
DEBUG_ADDR = Setting[str]("http.debug.addr", values.line)
PROMETHEUS_ENABLED = Setting[bool]("http.debug.prometheus.enabled", values.boolean, "true")
PROMETHEUS_PATH = Setting[str]("http.debug.prometheus.path", values.metrics_path, "/metrics")
TLS_CERTIFICATE = Setting[Path]("http.tls.certificate", values.path)
TLS_KEY = Setting[Path]("http.tls.key", values.path)
TLS_CLIENT_CAS = Setting[tuple[Path, ...]]("http.tls.clientcas", values.many(values.path), structured=True)
TLS_CLIENT_AUTH = Setting[str]("http.tls.clientauth", values.word(CLIENT_AUTHS), "require-and-verify-client-cert")
TLS_MINIMUM = Setting[TlsVersion]("http.tls.minimumtls", values.choice(TLS_VERSIONS, OLD_TLS_VERSIONS), "tls1.2")
TLS_CIPHERS = Setting[tuple[str, ...]](
    "http.tls.ciphersuites", values.many(values.word(CIPHERS, WEAK_CIPHERS)), structured=True
)
HTPASSWD_REALM = Setting[str]("auth.htpasswd.realm", values.line)
HTPASSWD_PATH = Setting[Path]("auth.htpasswd.path", values.path)
TTL = Setting[timedelta]("proxy.ttl", values.duration, "168h")
WORKERS = Setting[int]("server.workers", values.whole(1, 256), "2")
READERS = Setting[int]("server.readers", values.whole(1, 100_000), "2000")
GRACEFUL_TIMEOUT = Setting[timedelta]("server.graceful_timeout", values.duration, "30s")

REMOTE_URL = Setting[Remote]("remoteurl", values.remote)
ALIASES = Setting[tuple[str, ...]]("aliases", values.many(values.host), structured=True)
USERNAME = Setting[str]("username", values.line)
PASSWORD = Setting[Secret]("password", values.secret)
PASSWORD_ENV = Setting[str]("password_env", values.variable)
PASSWORD_FILE = Setting[Path]("password_file", values.path)
EXEC_COMMAND = Setting[str]("exec.command", values.line)
EXEC_LIFETIME = Setting[timedelta]("exec.lifetime", values.duration)
CREDENTIAL_HELPER = Setting[str]("credential_helper", values.helper)
CA = Setting[Path]("ca", values.path)
CLIENT_CERTIFICATE = Setting[Path]("clientcertificate", values.path)
CLIENT_KEY = Setting[Path]("clientkey", values.path)
INSECURE = Setting[bool]("insecure", values.boolean, "false")
HTTP_PROXY = Setting[Secret]("httpproxy", values.proxy_url)
CONNECT_TIMEOUT = Setting[timedelta]("connect_timeout", values.wait, "5s")
READ_TIMEOUT = Setting[timedelta]("read_timeout", values.wait, "30s")
TAG_TIMEOUT = Setting[timedelta]("tag_timeout", values.wait, "2s")
TOKEN_REALMS = Setting[tuple[str, ...]]("tokenrealms", values.many(values.host), structured=True)
TAG_MAX_AGE = Setting[timedelta]("tag_max_age", values.duration, "0")
BLOB_REQUESTS = Setting[int]("blob_requests", values.whole(1, 16), "4")
LAYERS_AHEAD = Setting[bool]("layers_ahead", values.boolean, "false")
PULL_FALLBACK = Setting[Fallback]("pull_fallback", values.choice(FALLBACKS), "honest")

AnySetting: TypeAlias = Setting[object]


GLOBAL_SETTINGS: tuple[AnySetting, ...] = (
    VERSION, LOG_LEVEL, LOG_FORMATTER, ROOT, MAX_SIZE, MIN_FREE, HTTP_ADDR, HTTP_NET, HTTP_HEADERS, HTTP_ACCEL,
    DEBUG_ADDR, PROMETHEUS_ENABLED, PROMETHEUS_PATH,
    TLS_CERTIFICATE, TLS_KEY, TLS_CLIENT_CAS, TLS_CLIENT_AUTH, TLS_MINIMUM, TLS_CIPHERS,
    HTPASSWD_REALM, HTPASSWD_PATH, TTL, WORKERS, READERS, GRACEFUL_TIMEOUT,
)  # fmt: skip
# Those of one upstream: under `proxy` for the default one, under `upstreams.NAME` for each other.
UPSTREAM_SETTINGS: tuple[AnySetting, ...] = (
    REMOTE_URL, ALIASES, USERNAME, PASSWORD, PASSWORD_ENV, PASSWORD_FILE, EXEC_COMMAND, EXEC_LIFETIME,
    CREDENTIAL_HELPER, CA, CLIENT_CERTIFICATE, CLIENT_KEY, INSECURE, HTTP_PROXY, CONNECT_TIMEOUT, READ_TIMEOUT,
    TAG_TIMEOUT, TOKEN_REALMS, TAG_MAX_AGE, BLOB_REQUESTS, LAYERS_AHEAD, PULL_FALLBACK,
)  # fmt: skip

# A name that Distribution gave another key before; read where the newer one is not given.
RENAMED = {"loglevel": LOG_LEVEL, "http.draintimeout": GRACEFUL_TIMEOUT}
# Understood, and already so: nothing to say in the log.
QUIET = ("storage.delete",)
# Distribution's keys that mean nothing here. They are accepted, with whatever is below them, and named once.
IGNORED = (
    "log.accesslog", "log.fields", "log.hooks", "log.reportcaller",
    "storage.filesystem.maxthreads", "storage.cache", "storage.maintenance", "storage.redirect", "storage.tag",
    "middleware", "reporting", "http.host", "http.secret", "http.relativeurls",
    "http.http2", "http.h2c", "notifications", "redis",
    "health.storagedriver", "health.file", "health.http", "health.tcp", "proxy.cachewritetimeout",
    "catalog", "tags", "compatibility", "validation", "policy",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refused:
    """A key of Distribution's that would lose data or protection if it were ignored.

    ``harmless`` is what it may hold all the same, beside nothing at all; None: its presence alone is too much.
    """

    what: str
    remedy: str
    harmless: tuple[str, ...] | None = None


_OTHER_DRIVER = Refused("is another storage driver", "this cache stores in a folder: storage.filesystem.rootdirectory")
UNGUARDED = "remove it, and give auth.htpasswd, or guard the port by a firewall or a proxy in front"
REFUSED = {
    **{
        f"storage.{driver}": _OTHER_DRIVER
        for driver in ("azure", "gcs", "inmemory", "oss", "s3", "s3aws", "swift", "rados")
    },
    "auth.token": Refused("is not served: clients would pull unguarded", UNGUARDED),
    "auth.silly": Refused("is not served: clients would pull unguarded", UNGUARDED),
    "http.tls.letsencrypt": Refused(
        "is not served: certificates are not fetched here", "give http.tls.certificate and http.tls.key", harmless=()
    ),
    "proxy.remotenamespace": Refused(
        "is not served: a repository has the name here that it has upstream",
        "remove it, and let clients write the whole name",
        harmless=(),
    ),
    "http.prefix": Refused(
        "is not served: clients find /v2/ only at the root",
        "remove it, and strip it in a proxy in front",
        harmless=("/",),
    ),
}
# The short form `storage: filesystem` means the section with that one key.
SHORT_FORMS = ("storage", "auth")


def settings_with(upstreams: tuple[str, ...]) -> dict[KeyPath, AnySetting]:
    """Every setting by its path, for a file that names these upstreams."""
    mounts: dict[KeyPath, tuple[AnySetting, ...]] = {(): GLOBAL_SETTINGS, PROXY: UPSTREAM_SETTINGS}
    mounts |= {(UPSTREAMS, name): UPSTREAM_SETTINGS for name in upstreams}
    return {setting.at(mount): setting for mount, settings in mounts.items() for setting in settings}


def accepted(upstreams: tuple[str, ...]) -> dict[KeyPath, object]:
    """Every path at which the walk down a file stops, to what stands there."""
    rest = [*QUIET, *IGNORED, *RENAMED, *REFUSED]
    return {**settings_with(upstreams), **{tuple(path.split(".")): path for path in rest}}


def sections(paths: Iterator[KeyPath]) -> set[KeyPath]:
    """What lies above these paths."""
    return {path[:depth] for path in paths for depth in range(len(path))}


def environment_name(path: KeyPath) -> str:
    """``REGISTRY_`` and the path; what no variable's name may hold becomes ``_``, as in REGISTRY_UPSTREAMS_GHCR_IO_…"""
    return "_".join([PREFIX, *("".join(sign if sign.isalnum() else "_" for sign in part).upper() for part in path)])


def short_form(tree: Raw) -> Raw:
    if not isinstance(tree, dict):
        return tree
    return {
        key: {value.text: None} if key in SHORT_FORMS and isinstance(value, Scalar) and value.text else value
        for key, value in tree.items()
    }
