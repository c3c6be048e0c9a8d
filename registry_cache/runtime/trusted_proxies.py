"""Which proxies are believed when they say where a request comes from: those on this machine, or those named."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

# gunicorn's own variable, and the same default that we give gunicorn.
VARIABLE = "FORWARDED_ALLOW_IPS"
DEFAULT = "127.0.0.1,::1"


class Proxies:
    """``named``: addresses and networks, with commas between; ``*`` for everybody. Anything else is ignored."""

    def __init__(self, named: str = DEFAULT) -> None:
        words = [word.strip() for word in named.split(",")]
        self._everybody = "*" in words
        self._networks = [network for word in words if (network := _network(word))]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Proxies:
        return cls(environ.get(VARIABLE, DEFAULT))

    def client(self, peer: str, forwarded: str | None) -> str | None:
        """Return the client's address, None if it is unknown.

        ``peer`` is empty behind a unix socket, where only a proxy can be. ``forwarded`` is X-Forwarded-For: its last
        hop was written by the proxy, those before it by anybody.
        """
        if forwarded is None or not (not peer or self._believes(peer)):
            return peer or None
        return _address(forwarded.rpartition(",")[2]) or peer or None

    def _believes(self, peer: str) -> bool:
        if self._everybody:
            return True
        address = _network(peer)
        return address is not None and any(_within(address, network) for network in self._networks)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _within(
    address: ipaddress.IPv4Network | ipaddress.IPv6Network, network: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    return address.version == network.version and address.network_address in network


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        return None
