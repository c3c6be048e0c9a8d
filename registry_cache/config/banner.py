"""The log lines with which the server starts, from a Config and the addresses it listens on. Pure."""

import json
import socket
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from registry_cache.config.durations import format_duration
from registry_cache.config.hosts import DEFAULT_PORTS, HUB
from registry_cache.config.model import Config, UpstreamConfig
from registry_cache.config.sizes import Size

# A socket that listens on all interfaces has the first address; a client on this machine can use the second.
ANY_TO_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 (compared with, never bound to)

# Bytes; less than one layer. Whoever writes a bare number often means gigabytes.
_LEAST_SENSIBLE = 1_000_000

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def lines(config: Config, addresses: Sequence[object]) -> Iterator[str]:
    """Yield where it listens, what it mirrors and keeps, what configures it, and how to point Docker at it."""
    urls = [_url(config, address) for address in addresses]
    yield f"listening on {', '.join(urls)}"
    yield f"mirroring {', '.join(map(_upstream, config.upstreams))}"
    yield f"storing under {config.root}"
    yield f"configured by {config.configured_by}"
    yield _keeping(config)
    yield from _guarding(config)
    reachable = [_reachable(config, address) for address in addresses if isinstance(address, tuple)]
    if reachable:
        if config.auth:
            # Never as a mirror in daemon.json: see _auth_warnings.
            host = reachable[0].split("//")[1]
            yield f"pull with: docker login {host}; docker pull {host}/REPOSITORY:TAG"
            return
        line = f"paste into /etc/docker/daemon.json: {json.dumps({'registry-mirrors': reachable[:1]})}"
        # Docker asks its mirrors for images of Docker Hub only; others are pulled by our own address.
        other = f"pull with: docker pull {reachable[0].split('//')[1]}/REPOSITORY:TAG; if it is a copy of Docker Hub, "
        yield line if config.default_upstream.name == HUB else other + line


def warnings(config: Config) -> Iterator[str]:
    """Yield what the operator configured and does not get."""
    if config.ignored:
        yield f"understood but without effect here: {', '.join(config.ignored)}"
    for key, size in (("max_size", config.max_size), ("min_free", config.min_free)):
        if size and not size.share and size.amount < _LEAST_SENSIBLE:
            yield f"storage.{key} is {_amount(size)}, less than a layer: is there a unit missing, as in 200GB?"
    yield from _auth_warnings(config)
    for upstream in config.upstreams:
        yield from _upstream_warnings(config, upstream)
    yield from config.warnings


def _guarding(config: Config) -> Iterator[str]:
    """Yield who may pull, unless everybody may."""
    tls = config.http.tls
    if tls and tls.client_auth == "required":
        yield f"clients must show a certificate from {', '.join(map(str, tls.client_cas))}"
    if tls and tls.client_auth == "optional":
        yield f"clients may show a certificate from {', '.join(map(str, tls.client_cas))}; without one they get in, too"
    if config.auth:
        yield f"clients must log in as a user of {config.auth.path}"


def _upstream_warnings(config: Config, upstream: UpstreamConfig) -> Iterator[str]:
    """Yield what cannot have been meant of an upstream."""
    keys = "proxy" if upstream is config.default_upstream else f"upstreams.{upstream.name}"
    remote, http = urlsplit(upstream.remote_url), config.http
    host, port = remote.hostname or "", remote.port or DEFAULT_PORTS[remote.scheme]
    ours = {http.host, *(LOOPBACK if http.host in ("", *ANY_TO_LOOPBACK, *LOOPBACK) else ()), socket.gethostname()}
    if not http.socket and port == http.port and host in ours:
        yield f"{keys}.remoteurl is this server itself, which would ask itself: name the registry to pull from"
    has_account = bool(upstream.username or upstream.credential_helper)
    if has_account and remote.scheme == "http" and host not in LOOPBACK:
        yield f"{keys}: the account's password crosses the network in the clear; write remoteurl with https://"


def _auth_warnings(config: Config) -> Iterator[str]:
    if config.auth is None:
        return
    yield (
        "auth: do not name this server in registry-mirrors of daemon.json. dockerd answers a mirror that asks for a "
        "login with its user's Docker Hub password, and then pulls from the Hub instead. Guard a mirror by the network "
        "or by client certificates (http.tls.clientcas), or let clients name this server in what they pull"
    )
    if not config.http.tls and not config.http.socket and config.http.host not in LOOPBACK:
        yield "auth: without TLS passwords cross the network in the clear; give http.tls, or put a proxy in front"


def _keeping(config: Config) -> str:
    """Return what is kept. The server holds to sizes at any time; what is only too old is evicted once a day."""
    kept = [f"what was used in the last {format_duration(config.ttl)}" if config.ttl else "everything"]
    if config.max_size:
        kept.append(f"at most {_amount(config.max_size)}")
    if config.min_free:
        kept.append(f"with {_amount(config.min_free)} left free")
    rest = "; what is older goes once a day, or by registry-cache cleanup" if config.ttl else ""
    return f"keeping {', '.join(kept)}{rest}"


def _amount(size: Size) -> str:
    return f"{size} of the disk" if size.share else f"{size} bytes" if str(size).isdecimal() else str(size)


def _upstream(upstream: UpstreamConfig) -> str:
    return f"{upstream.name} ({upstream.remote_url})"


def _url(config: Config, address: object) -> str:
    if not isinstance(address, tuple):
        return f"unix:{address}"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{_scheme(config)}://{host}:{address[1]}"


def _reachable(config: Config, address: tuple[object, ...]) -> str:
    """Return the URL by which a client on this machine reaches the address."""
    host = str(address[0])
    host = ANY_TO_LOOPBACK.get(host, f"[{host}]" if ":" in host else host)
    return f"{_scheme(config)}://{host}:{address[1]}"


def _scheme(config: Config) -> str:
    return "https" if config.http.tls else "http"
