"""What counts as one client's address: an IPv4 address, or a /64 network of IPv6."""

from __future__ import annotations

import ipaddress


def network(address: str | None) -> str:
    """Return what one client has: an IPv4 address, or a /64 of IPv6; "" for a unix socket, which has no address."""
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return ""
    if parsed.version == 4:
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.ip_network((parsed, 64), strict=False))
