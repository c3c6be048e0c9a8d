"""The product's upstream client, in this process, talking to a fake registry on loopback."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from registry_cache.oci.names import Reference, Repository
from registry_cache.upstream.blob_body import BlobBody
from registry_cache.upstream.client import ManifestHead, Upstream
from registry_cache.upstream.credentials.account import Account, Credentials, FixedAccount
from registry_cache.upstream.credentials.auth import Authenticator
from registry_cache.upstream.health import Health, PrivateHealth
from registry_cache.upstream.session import TLS, Session, Timeouts
from registry_cache.upstream.transport import Transport
from tests.harness.content import APP as APP_NAME
from tests.harness.store_rig import APP, HUB

assert APP_NAME == APP

ME = Credentials("me", "secret")
NO_TIMEOUTS = Timeouts(connect=20.0, read=40.0)


def ask_head(registry: Upstream, repository: Repository, reference: Reference) -> ManifestHead:
    """The HEAD of a manifest; raises what a refusal says, which others leave to a GET."""
    head = registry.head_manifest(repository, reference)
    if head.refusal:
        raise head.refusal
    return head


def read_all(body: BlobBody) -> bytes:
    """What a body holds; closes it."""
    try:
        return b"".join(body)
    finally:
        body.close()


def connect(
    url: str,
    account: Credentials | Account | None = None,
    *,
    realms: Sequence[str] = (),
    timeouts: Timeouts = NO_TIMEOUTS,
    tls: TLS | None = None,
    clock: Callable[[], float] = time.monotonic,
    private_redirects: bool = False,
) -> Upstream:
    """Ask the registry at ``url``, as a worker does."""
    session = Session(HUB, timeouts, tls or TLS(), private_redirects=private_redirects)
    whose = FixedAccount(account) if account is None or isinstance(account, Credentials) else account
    auth = Authenticator(HUB, url, session, whose, realms, clock)
    return Upstream(Transport(HUB, url, session, auth, Health(HUB, PrivateHealth())))
