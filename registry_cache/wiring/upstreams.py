"""Build what asks the registries, and what is known of them."""

from __future__ import annotations

import time
from collections.abc import Callable

from registry_cache.api.metrics import UpstreamState
from registry_cache.config import Config, UpstreamConfig
from registry_cache.pull.cluster.limits import NearLimits
from registry_cache.pull.cluster.nodes import Cluster
from registry_cache.pull.routing import ServedUpstream, Upstreams
from registry_cache.pull.shared_health import SharedHealth, account_key
from registry_cache.pull.target import TagPolicy
from registry_cache.store.layout import Layout
from registry_cache.store.upstream_notes import UpstreamNote
from registry_cache.upkeep.status import KnownUpstream
from registry_cache.upstream.client import Upstream
from registry_cache.upstream.credentials.account import Account, Credentials, FixedAccount
from registry_cache.upstream.credentials.auth import Authenticator
from registry_cache.upstream.credentials.credential_helper import CredentialHelper
from registry_cache.upstream.health import Health
from registry_cache.upstream.session import TLS, Session, Timeouts
from registry_cache.upstream.transport import Transport


def upstream_state(config: UpstreamConfig, layout: Layout) -> UpstreamState:
    health = shared_health(config, layout)
    limits = health.limits()
    until = limits.blocked_until(counted=True)
    return UpstreamState(
        config.name,
        up=not health.is_down(),
        limit=limits.limit,
        remaining=limits.remaining,
        limited_until=until if until > time.time() else 0.0,
    )


def known_upstreams(config: Config, layout: Layout) -> list[KnownUpstream]:
    """Return what the workers have noted of all upstreams."""
    healths = [(each, shared_health(each, layout)) for each in config.upstreams]
    return [KnownUpstream(each.name, each.remote_url, found.limits(), found.down()) for each, found in healths]


def upstreams(config: Config, cluster: Cluster | None = None) -> Upstreams:
    """Return all upstreams by their names; opens neither the store nor a connection."""
    layout = Layout(config.root)
    default, *others = (_serve(upstream, layout, cluster) for upstream in config.upstreams)
    return Upstreams(default, others)


def shared_health(
    config: UpstreamConfig,
    layout: Layout,
    without_account: Callable[[], bool] | None = None,
    cluster: Cluster | None = None,
) -> SharedHealth:
    """Return what the workers have noted about an upstream; reads the note when it is asked."""
    owner = account_key(config.remote_url, config.username, config.credential_helper, config.credential_server)
    near = NearLimits(cluster.limits, config.name, owner) if cluster else None
    return SharedHealth(UpstreamNote(layout, config.name), owner, without_account, near)


def _serve(config: UpstreamConfig, layout: Layout, cluster: Cluster | None) -> ServedUpstream:
    tags = TagPolicy(config.tag_max_age, config.tag_timeout.total_seconds())
    return ServedUpstream(_upstream(config, layout, cluster), config.aliases, tags, config.pull_fallback)


def _upstream(config: UpstreamConfig, layout: Layout, cluster: Cluster | None) -> Upstream:
    http = session(config)
    auth = Authenticator(config.name, config.remote_url, http, account(config), config.token_realms)
    shared = shared_health(config, layout, lambda: auth.account.is_missing, cluster)
    transport = Transport(
        config.name, config.remote_url, http, auth, Health(config.name, shared), config.http_redirects
    )
    return Upstream(transport, config.blob_requests, config.layers_ahead, config.lazy)


def session(config: UpstreamConfig) -> Session:
    """Return what sends requests to an upstream; connects to nothing yet."""
    seconds = (each.total_seconds() for each in (config.connect_timeout, config.read_timeout, config.idle_timeout))
    timeouts = Timeouts(*seconds)
    verify: bool | str = False if config.insecure else str(config.ca) if config.ca else True
    pair = (config.client_certificate, config.client_key)
    certificate = (str(pair[0]), str(pair[1])) if all(pair) else None
    proxy = config.http_proxy.reveal() if config.http_proxy else None
    tls = TLS(verify, certificate, config.strict_tls)
    return Session(config.name, timeouts, tls, proxy, private_redirects=config.private_redirects)


def account(config: UpstreamConfig) -> Account:
    """Return the account to pull with; a helper is not run yet."""
    if config.credential_helper:
        return CredentialHelper(config.credential_helper, config.credential_server, config.credential_lifetime)
    if config.username and config.password:
        return FixedAccount(Credentials(config.username, config.password.reveal()))
    return FixedAccount(None)
