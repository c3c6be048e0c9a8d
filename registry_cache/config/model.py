"""The configuration in force, as values that cannot be wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from registry_cache.config.schema import ClientAuth, Fallback, Formatter, Level, TlsVersion
from registry_cache.config.secret import Secret
from registry_cache.config.sizes import Size


@dataclass(frozen=True, slots=True)
class LogConfig:
    level: Level
    formatter: Formatter


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """Certificates that were read once already, so a wrong one is reported at the start and not at a handshake."""

    certificate: Path
    key: Path
    client_cas: tuple[Path, ...]
    client_auth: ClientAuth
    minimum_version: TlsVersion
    ciphers: tuple[str, ...]
    """OpenSSL's names, for TLS 1.2; empty: OpenSSL's own choice."""


@dataclass(frozen=True, slots=True)
class DebugConfig:
    """Where those who watch find metrics and health, and nothing else. An empty ``host`` means all interfaces."""

    host: str
    port: int
    metrics: str | None
    """The path of the metrics; None where they are not to be told there."""


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """Where to listen: ``host`` and ``port``, or ``socket``. An empty ``host`` means all interfaces."""

    host: str
    port: int
    socket: Path | None
    headers: Mapping[str, tuple[str, ...]]
    tls: TlsConfig | None
    debug: DebugConfig | None
    accel: bool
    """Whether nginx, at the other end of a unix socket, is told to send whole blobs itself."""


@dataclass(frozen=True, slots=True)
class HtpasswdConfig:
    realm: str
    path: Path
    users: Mapping[bytes, bytes] = field(repr=False)
    """Each user's hash, as the file had them at the start."""


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """One registry to pull from. ``name`` is what it is called on disk, in logs and in ``ns=``."""

    name: str
    remote_url: str
    """Scheme, host, port and perhaps a path; no trailing slash, no ``/v2``, no credentials."""
    aliases: tuple[str, ...]
    username: str | None
    password: Secret | None
    credential_helper: str | None
    """A program that speaks Docker's credential-helper protocol."""
    credential_server: str
    """What to ask the helper for."""
    credential_lifetime: timedelta | None
    """How long its answer is good; None: ten minutes."""
    ca: Path | None
    client_certificate: Path | None
    client_key: Path | None
    insecure: bool
    http_proxy: Secret | None
    """A URL that may hold the proxy's credentials."""
    connect_timeout: timedelta
    read_timeout: timedelta
    """Silence between two reads."""
    tag_timeout: timedelta
    """The longest wait for a tag's HEAD where a copy exists."""
    token_realms: tuple[str, ...]
    tag_max_age: timedelta
    blob_requests: int
    """How many at once for one blob, at most."""
    layers_ahead: bool
    pull_fallback: Fallback


@dataclass(frozen=True, slots=True)
class InForce:
    """One line of ``registry-cache config``; a secret's value is masked."""

    path: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Config:
    log: LogConfig
    root: Path
    http: HttpConfig
    default_upstream: UpstreamConfig
    upstreams: tuple[UpstreamConfig, ...]
    """All of them, the default one first; no two share a name or an alias."""
    ttl: timedelta | None
    """Since the last use; None: nothing expires."""
    max_size: Size
    """Of all manifests and blobs together."""
    min_free: Size
    """Of the disk that ``root`` is on."""
    auth: HtpasswdConfig | None
    workers: int
    readers: int
    """Streams of growing blobs per worker; the next one gets a 503."""
    graceful_timeout: timedelta
    source: str
    """The file's name, or words for there being none."""
    ignored: tuple[str, ...]
    """Keys that the file gives and that change nothing here."""
    warnings: tuple[str, ...]
    in_force: tuple[InForce, ...] = field(repr=False)

    @property
    def origins(self) -> Mapping[str, str]:
        """Path to ``default``, the file's name, ``environment REGISTRY_…`` or ``file of REGISTRY_…_FILE``."""
        return {entry.path: entry.origin for entry in self.in_force}
