"""May a registry send us to this token server? Our password goes there (P21)."""

from __future__ import annotations

from collections.abc import Collection

from registry_cache.errors import UpstreamError
from registry_cache.upstream.origin import Origin, origin


def check_realm(name: str, home: Origin, realm: str, allowed: Collection[str]) -> None:
    """Raise UpstreamError unless ``realm`` belongs to the registry ``name`` at ``home`` or its host is ``allowed``."""
    scheme, host, _ = origin(realm)
    home_scheme, home_host, _ = home
    is_downgrade = home_scheme == "https" and scheme != "https"
    shares_domain = _domain(host) is not None and _domain(host) == _domain(home_host)
    if is_downgrade or not (host == home_host or host in allowed or shares_domain):
        raise UpstreamError(
            f"{name} sends us to the token server {scheme}://{host}, which is not its own; "
            f"if it is, list {host} under tokenrealms"
        )


def _domain(host: str) -> str | None:
    """Return the domain under which ``host`` was registered; None for an address or a bare name, which share none.

    Without the list of public suffixes: two labels, or three where the second is a registry's own (``co.uk``).
    """
    labels = host.split(".")
    if len(labels) < 2 or labels[-1].isdigit() or ":" in host:
        return None
    own = 3 if len(labels[-1]) == 2 and labels[-2] in ("ac", "co", "com", "edu", "gov", "net", "or", "org") else 2
    return ".".join(labels[-own:]) if len(labels) >= own else None
