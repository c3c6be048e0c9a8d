"""The configuration in force, as frozen dataclasses whose values cannot be wrong.

Each key is declared here, once: ``setting(path in the file, parser, default)``. To add a key, add a field. A field
without ``setting`` follows from other keys (``build.py``). The order of the fields is the order of ``registry-cache
config``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeAlias

from registry_cache.config import hosts, values
from registry_cache.config.bucket import S3Config
from registry_cache.config.hosts import Remote
from registry_cache.config.secret import Secret
from registry_cache.config.settings import list_setting, section, setting
from registry_cache.config.sizes import Size
from registry_cache.config.tls import (
    CIPHERS,
    CLIENT_AUTHS,
    OLD_TLS_VERSIONS,
    WEAK_CIPHERS,
    ClientAuth,
    TlsVersion,
)

Level: TypeAlias = Literal["error", "warn", "info", "debug"]
Formatter: TypeAlias = Literal["text", "json"]
Fallback: TypeAlias = Literal["auto", "honest", "unavailable", "notfound"]

_FORMATTERS: dict[str, Formatter] = {"text": "text", "json": "json", "logstash": "json"}
# The words of ``upstream.client``.
Lazy: TypeAlias = Literal["fill", "hold", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    level: Level = setting("log.level", values.literal(Level), "info", older="loglevel")
    formatter: Formatter = setting("log.formatter", values.choice(_FORMATTERS), "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugConfig:
    """Where monitoring finds metrics and health, and people the page. An empty ``host`` means all interfaces."""

    addr: str = setting("http.debug.addr", values.line)
    hosts: tuple[str, ...] = list_setting("http.debug.hosts", values.host_name)
    """Names by which a browser may call it, beside addresses and localhost."""
    prometheus_enabled: bool = setting("http.debug.prometheus.enabled", values.boolean, "true")
    prometheus_path: str = setting("http.debug.prometheus.path", values.metrics_path, "/metrics")
    host: str
    port: int
    metrics: str | None
    """The path of the metrics; None where they are not served there."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return hosts.is_loopback(self.host)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """The server's TLS. The files were read once already, so a wrong one is reported at the start."""

    certificate: Path = setting("http.tls.certificate", values.path)
    key: Path = setting("http.tls.key", values.path)
    client_cas: tuple[Path, ...] = list_setting("http.tls.clientcas", values.path)
    client_auth_word: str = setting("http.tls.clientauth", values.word(CLIENT_AUTHS), "require-and-verify-client-cert")
    minimum_version: TlsVersion = setting("http.tls.minimumtls", values.literal(TlsVersion, OLD_TLS_VERSIONS), "tls1.2")
    cipher_suites: tuple[str, ...] = list_setting("http.tls.ciphersuites", values.word(CIPHERS, WEAK_CIPHERS))
    client_auth: ClientAuth
    ciphers: tuple[str, ...]
    """OpenSSL's names, for TLS 1.2; empty: OpenSSL's own choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """Where to listen: ``host`` and ``port``, or ``socket``. An empty ``host`` means all interfaces."""

    addr: str = setting("http.addr", values.line, "127.0.0.1:5000")
    net: str = setting("http.net", values.word(("tcp", "unix")), "tcp")
    url: Remote | None = setting("http.host", values.remote)
    """By which clients reach us; None: it follows from ``addr``."""
    headers: Mapping[str, tuple[str, ...]] = setting("http.headers", values.headers, structured=True, absent={})
    accel: bool = setting("http.accel", values.boolean, "false")
    """Whether nginx, at the other end of a unix socket, is told to send whole blobs itself."""
    secret: Secret | None = setting("http.secret", values.secret)
    """What all nodes of a cluster know, and nobody else."""
    debug: DebugConfig | None = section(DebugConfig)
    tls: TlsConfig | None = section(TlsConfig)
    host: str
    port: int
    socket: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTlsConfig:
    enabled: bool = setting("redis.tls.enabled", values.boolean, "false")
    certificate: Path | None = setting("redis.tls.certificate", values.path)
    key: Path | None = setting("redis.tls.key", values.path)
    client_cas: tuple[Path, ...] = list_setting("redis.tls.clientcas", values.path)
    """The authorities that Redis' certificate is checked against; empty: the system's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisConfig:
    """The one Redis or Valkey that the nodes share."""

    addrs: tuple[str, ...] = list_setting("redis.addrs", values.line, older="redis.addr")
    username: str | None = setting("redis.username", values.line)
    password: Secret | None = setting("redis.password", values.secret)
    db: int = setting("redis.db", values.whole(0, 100_000), "0")
    tls: RedisTlsConfig = section(RedisTlsConfig)
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """How other nodes reach this one. An empty ``host`` means all interfaces."""

    addr: str = setting("cluster.addr", values.line, ":5050")
    advertise: str | None = setting("cluster.advertise", values.line)
    """The URL by which others reach ``addr``; None: that from which this machine reaches Redis, or ``peers[0]``."""
    node: str | None = setting("cluster.node", values.line)
    """What this node is called; the host's name where it is not given."""
    peers: tuple[str, ...] = list_setting("cluster.peers", values.line)
    """URLs of nodes that are asked while Redis is away, beside those that it knew, or where there is none."""
    ca: Path | None = setting("cluster.ca", values.path)
    """The authority that other nodes' certificates are checked against."""
    max_size: Size = setting("cluster.max_size", values.size, "0")
    """Of all blobs in the bucket; ``cleanup --shared`` holds it to that."""
    standby: Size = setting("cluster.standby", values.size, "0")
    """From which size on a second node follows a blob that this one leads; 0: of none."""
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HtpasswdConfig:
    realm: str = setting("auth.htpasswd.realm", values.line)
    path: Path = setting("auth.htpasswd.path", values.path)
    users: Mapping[bytes, bytes] = field(repr=False)
    """Each user's hash, as the file had them at the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsConfig:
    """What is remembered of who pulled what."""

    clients: bool = setting("statistics.clients", values.boolean, "true")
    """Whether clients and users are remembered at all."""
    journal_days: int = setting("statistics.journal.days", values.whole(0, 366), "7")
    """How long requests for manifests are remembered one by one; 0: they are not."""
    journal_size: Size = setting("statistics.journal.size", values.size, "64MB")
    nginx_log: Path | None = setting("statistics.nginx_log", values.path)
    """The access log of the nginx in front, which answers hits itself."""

    @property
    def has_journal(self) -> bool:
        """Whether requests for manifests are remembered one by one."""
        return self.clients and self.journal_days > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamConfig:
    """One registry to pull from. ``name`` is what it is called on disk, in logs and in ``ns=``."""

    name: str
    remote: Remote = setting("remoteurl", values.remote)
    aliases: tuple[str, ...] = list_setting("aliases", values.alias)
    """All other names, those of Docker Hub included."""
    username: str | None = setting("username", values.line)
    password: Secret | None = setting("password", values.secret)
    """Wherever it came from; None beside a credential helper."""
    password_env: str | None = setting("password_env", values.variable)
    password_file: Path | None = setting("password_file", values.path)
    exec_command: str | None = setting("exec.command", values.line)
    credential_lifetime: timedelta | None = setting("exec.lifetime", values.duration)
    """How long a credential helper's answer is good; None: ten minutes."""
    credential_helper: str | None = setting("credential_helper", values.helper)
    """The whole name of a program that speaks Docker's credential-helper protocol; the key holds the short one."""
    credential_server: str
    """What to ask the helper for."""
    ca: Path | None = setting("ca", values.path)
    client_certificate: Path | None = setting("clientcertificate", values.path)
    client_key: Path | None = setting("clientkey", values.path)
    insecure: bool = setting("insecure", values.boolean, "false")
    strict_tls: bool = setting("strict_tls", values.boolean, "false")
    """Also check certificates against rules of X.509 that many private authorities break."""
    http_redirects: bool = setting("http_redirects", values.boolean, "false")
    """Follow redirects of blobs from https to plain http."""
    private_redirects: bool = setting("private_redirects", values.boolean, "false")
    """Follow redirects, and ask token servers, on any network, and not only where this upstream stands itself."""
    http_proxy: Secret | None = setting("httpproxy", values.proxy_url)
    """A URL that may hold the proxy's credentials."""
    connect_timeout: timedelta = setting("connect_timeout", values.wait, "5s")
    read_timeout: timedelta = setting("read_timeout", values.wait, "30s")
    """The longest silence between two reads."""
    idle_timeout: timedelta = setting("idle_timeout", values.wait, "60s")
    """After so long without use a connection is not used again."""
    tag_timeout: timedelta = setting("tag_timeout", values.wait, "2s")
    """The longest wait for a tag's HEAD where a copy exists."""
    token_realms: tuple[str, ...] = list_setting("tokenrealms", values.host)
    tag_max_age: timedelta = setting("tag_max_age", values.duration, "0")
    blob_requests: int = setting("blob_requests", values.whole(1, 16), "4")
    """How many requests at once for one blob, at most."""
    layers_ahead: bool = setting("layers_ahead", values.boolean, "false")
    lazy: Lazy = setting("lazy", values.literal(Lazy), "fill")
    """What a range of a blob that is not here brings: itself and later the rest, itself alone, or the whole at once."""
    reserved_size: Size = setting("reserved_size", values.size, "0")
    """How much of its content stays when room is made for others."""
    pull_fallback: Fallback = setting("pull_fallback", values.literal(Fallback), "auto")

    @property
    def remote_url(self) -> str:
        """Scheme, host, port and perhaps a path; no trailing slash, no ``/v2``, no credentials."""
        return self.remote.url


@dataclass(frozen=True, slots=True)
class InForce:
    """One line of ``registry-cache config``; a secret's value is masked."""

    path: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    version: str = setting("version", values.version, "0.1")
    log: LogConfig = section(LogConfig)
    root: Path = setting("storage.filesystem.rootdirectory", values.path)
    max_size: Size = setting("storage.max_size", values.size, "0")
    """Of all manifests and blobs together."""
    min_free: Size = setting("storage.min_free", values.size, "5%")
    """Of the disk that ``root`` is on."""
    max_blob_percent: int = setting("storage.max_blob_percent", values.whole(1, 100), "50")
    """How much of the store one blob may take."""
    s3: S3Config | None = section(S3Config)
    """The bucket that several caches share; None without."""
    redirect_is_off: bool | None = setting("storage.redirect.disable", values.boolean)
    """None where nothing is written: then clients are sent to no bucket either."""
    http: HttpConfig = section(HttpConfig)
    statistics: StatisticsConfig = section(StatisticsConfig)
    redis: RedisConfig | None = section(RedisConfig)
    cluster: ClusterConfig = section(ClusterConfig)
    auth: HtpasswdConfig | None = section(HtpasswdConfig)
    ttl: timedelta | None = setting("proxy.ttl", values.duration, "168h")
    """Since the last use; None: nothing expires."""
    workers: int = setting("server.workers", values.whole(1, 256), "2")
    readers: int = setting("server.readers", values.whole(1, 100_000), "2000")
    """Streams of growing blobs per worker; the next one gets a 503."""
    graceful_timeout: timedelta = setting("server.graceful_timeout", values.duration, "30s", older="http.draintimeout")
    default_upstream: UpstreamConfig
    upstreams: tuple[UpstreamConfig, ...]
    """All of them, the default one first; no two share a name or an alias."""
    source: str
    """The file's name, or words for there being none."""
    ignored: tuple[str, ...]
    """Keys that the file gives and that have no effect here."""
    warnings: tuple[str, ...]
    in_force: tuple[InForce, ...] = field(repr=False)

    @property
    def has_page(self) -> bool:
        """Whether ``/ui/`` exists: who pulled what is not for whoever finds an address."""
        debug = self.http.debug
        return debug is not None and (debug.is_loopback or self.auth is not None)

    @property
    def shares_downloads(self) -> bool:
        """Whether this node shares its downloads with others."""
        return (self.redis is not None or bool(self.cluster.peers)) and self.http.secret is not None

    @property
    def redirects_to_bucket(self) -> bool:
        return self.s3 is not None and self.redirect_is_off is False

    @property
    def configured_by(self) -> str:
        """Where its values come from: the file, and the environment where that gives any."""
        environment = any(
            origin.startswith(("environment REGISTRY_", "file of REGISTRY_")) for origin in self.origins.values()
        )
        return f"{self.source} and the environment" if environment else self.source

    @property
    def origins(self) -> Mapping[str, str]:
        """Path to ``default``, the file's name, ``environment REGISTRY_…`` or ``file of REGISTRY_…_FILE``."""
        return {entry.path: entry.origin for entry in self.in_force}
