"""Which network an address is on: the whole world's, or one that only we can reach. Pure.

A registry that redirects us, or names a token server, must not use us to look around in our own network. It is sent no
further in than it stands itself: one in the internet to the internet alone, one on a private network also to that.
"""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from typing import TypeAlias

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class Zone(StrEnum):
    """PRIVATE: also shared (100.64/10) and unique-local addresses. LOOPBACK: also 0.0.0.0, which leads to this machine.
    RESERVED: whatever else no public host has, multicast included.
    """

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    RESERVED = "reserved"


# The zones that may be connected to.
Reach = frozenset[Zone]
EVERYWHERE: Reach = frozenset(Zone)
PUBLIC_ONLY: Reach = frozenset({Zone.PUBLIC})

_ZONES = [
    (ipaddress.ip_network(network), zone)
    for zone, networks in {
        Zone.PRIVATE: (*("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"), *("fc00::/7", "fec0::/10")),
        Zone.LOOPBACK: ("127.0.0.0/8", "0.0.0.0/8", "::1/128", "::/128"),
        Zone.LINK_LOCAL: ("169.254.0.0/16", "fe80::/10"),
    }.items()
    for network in networks
]
# IPv6 networks whose last four bytes are an IPv4 address: mapped, translated, compatible, and NAT64.
_EMBEDDING = [ipaddress.ip_network(each) for each in ("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96")]
# Of a network's own NAT64 (RFC 8215) nobody else knows how long its prefix is, and so which bytes are the address
# (RFC 6052 §2.2).
_LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")
_PLACES = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), (12, 13, 14, 15))
_NOWHERE = ipaddress.ip_network("0.0.0.0/8")
# Names that no public host has (RFC 6761, 6762, 8375, and ICANN's .internal), or that are private by habit.
_PRIVATE_SUFFIXES = frozenset(("local", "internal", "intranet", "lan", "private", "corp", "home", "arpa"))


def zone_of(address: str) -> Zone:
    """Return the zone of an IP address as the resolver or a socket writes it."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    zones = [_zone(each) for each in (_local_nat64(parsed) if parsed in _LOCAL_NAT64 else [_without_envelope(parsed)])]
    return next((each for each in zones if each is not Zone.PUBLIC), Zone.PUBLIC)


def _zone(parsed: IPAddress) -> Zone:
    for network, zone in _ZONES:
        if parsed in network:
            return zone
    return Zone.PUBLIC if parsed.is_global and not parsed.is_multicast else Zone.RESERVED


def zone_of_name(host: str) -> Zone:
    """Return the zone of a host by the form of its name: all there is to go by where a proxy resolves names."""
    try:
        return zone_of(host)
    except ValueError:
        last = host.rstrip(".").rpartition(".")
    if last[2] == "localhost":
        return Zone.LOOPBACK
    return Zone.PRIVATE if not last[0] or last[2] in _PRIVATE_SUFFIXES else Zone.PUBLIC


def reach_from(zone: Zone) -> Reach:
    """Return where somebody who stands in ``zone`` may send us."""
    return PUBLIC_ONLY | {zone}


def _local_nat64(address: IPAddress) -> list[IPAddress]:
    """Return all the IPv4 addresses that one of a network's own NAT64 may lead to."""
    found = [ipaddress.IPv4Address(bytes(address.packed[at] for at in place)) for place in _PLACES]
    # Where the prefix ends elsewhere, its zeros look like an address.
    return [each for each in found if each not in _NOWHERE] or [found[-1]]


def _without_envelope(address: IPAddress) -> IPAddress:
    """Return the IPv4 address that an IPv6 address leads to, where it holds one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.sixtofour:
        return address.sixtofour
    if address.teredo:
        return address.teredo[1]
    if int(address) > 1 and any(address in network for network in _EMBEDDING):
        return ipaddress.IPv4Address(address.packed[-4:])
    return address
