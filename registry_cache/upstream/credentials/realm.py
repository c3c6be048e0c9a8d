"""May a registry send us to this token server, and may it see our account? (P21, P74)"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from publicsuffixlist import PublicSuffixList

from registry_cache.errors import UpstreamError
from registry_cache.upstream.network.url import Origin, origin
from registry_cache.upstream.network.zones import PUBLIC_ONLY, Reach, Zone, zone_of_name

# "account": it may see our account. "anonymous": it may be asked without. "public": so, and has to be a public host.
Trust = Literal["account", "anonymous", "public"]


@dataclass(frozen=True, slots=True)
class RealmRules:
    """Rules for one registry, ``name``. ``allowed``: hosts of token servers that its operator lists."""

    name: str
    allowed: Collection[str]

    def is_listed(self, realm: str) -> bool:
        """Whether the operator lists the token server ``realm``, which may then be anywhere. Raises UpstreamError."""
        return origin(realm)[1] in self.allowed

    def trust(self, home: Origin, realm: str, reach: Reach, *, has_account: Callable[[], bool]) -> Trust:
        """Return what a token server may be told that the registry at ``home`` names. Raises UpstreamError for nothing.

        ``reach``: where that registry may send us; whether the token server is there is seen when connecting.
        Without an account there is no password to protect: a token server anywhere may be asked, if nobody can read or
        change its answer on the way, and if it is not on a private network that only we can reach.
        """
        scheme, host, _ = origin(realm)
        where = f"{self.name} sends us to the token server {scheme}://{host}"
        if home[0] == "https" and scheme != "https":
            raise UpstreamError(f"{where}, over plain http, where anybody on the way can read and change tokens")
        if host == home[1] or host in self.allowed or _share_domain(host, home[1]):
            return "account"
        if has_account():
            raise UpstreamError(f"{where}, which is not its own; if it is, list {host} under tokenrealms")
        if reach != PUBLIC_ONLY:
            return "anonymous"
        # Its name alone is looked at here, and its address when connecting.
        if zone_of_name(host) is not Zone.PUBLIC and zone_of_name(home[1]) is Zone.PUBLIC:
            raise UpstreamError(f"{where}, which is a private address; if it is its own, list {host} under tokenrealms")
        return "public"


def _share_domain(one: str, other: str) -> bool:
    """Whether two hosts are of the same owner, by the list of domains under which names are registered."""
    domain = _registered_domain(one)
    return domain is not None and domain == _registered_domain(other)


def _registered_domain(host: str) -> str | None:
    """Return the domain under which ``host`` was registered; None for an address or a bare name, which share none."""
    if ":" in host or host.rpartition(".")[2].isdigit():
        return None
    found: str | None = _suffixes().privatesuffix(host)
    return found


@functools.cache
def _suffixes() -> PublicSuffixList:
    # Read where it is needed: it takes a quarter of a second and some megabytes.
    return PublicSuffixList()
