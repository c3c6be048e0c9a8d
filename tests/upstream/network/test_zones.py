"""Which network an address is on."""

from __future__ import annotations

import pytest

from registry_cache.upstream.network.zones import Zone, reach_from, zone_of, zone_of_name


@pytest.mark.parametrize(
    ("zone", "addresses"),
    [
        (Zone.PUBLIC, "8.8.8.8 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808:: 172.32.0.1 100.128.0.1"),
        (Zone.PRIVATE, "10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 fd00::1 fc00::1 fec0::1"),
        (Zone.PRIVATE, "::ffff:10.0.0.1 64:ff9b::a00:1 64:ff9b:1::10.0.0.1 2002:a00:1:: ::10.0.0.1 ::ffff:0:10.0.0.1"),
        (Zone.LOOPBACK, "127.0.0.1 127.255.0.5 ::1 0.0.0.0 0.1.2.3 :: ::ffff:127.0.0.1 64:ff9b::7f00:1 ::127.0.0.1"),
        (Zone.LOOPBACK, "::ffff:0.0.0.0 2002:7f00:1::"),
        (Zone.LINK_LOCAL, "169.254.169.254 fe80::1 fe80::1%eth0 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe"),
        (Zone.LINK_LOCAL, "2001:0:808:808::5601:5601"),
        # NAT64 of one's own: the address is where the prefix ends, which may be in four places.
        (Zone.LINK_LOCAL, "64:ff9b:1:a9fe:a9:fe00:: 64:ff9b:1:a9fe:a9:fe00:808:808 64:ff9b:1:8a9:fe:a9fe:808:808"),
        (Zone.LINK_LOCAL, "64:ff9b:1:808:a9:fea9:fe08:808 64:ff9b:1:808:8:808:a9fe:a9fe"),
        (Zone.PUBLIC, "64:ff9b:1::808:808 64:ff9b:1:808:8:800:: 64:ff9b:1:8:8:808::"),
        (Zone.RESERVED, "240.0.0.1 255.255.255.255 224.0.0.1 ff02::1 198.18.0.1 192.0.2.1 2001:db8::1 100::1"),
        (Zone.RESERVED, "::ffff:224.0.0.1"),
    ],
)
def test_the_zone_of_an_address(zone: Zone, addresses: str) -> None:
    assert {each: zone_of(each) for each in addresses.split()} == dict.fromkeys(addresses.split(), zone)


@pytest.mark.parametrize(
    ("zone", "names"),
    [
        (Zone.PUBLIC, "registry.example.com 8.8.8.8 2606:4700::1111 local.example.com"),
        (
            Zone.PRIVATE,
            "vault metadata.google.internal nas.local router.lan 10.0.0.1 registry.corp. 1.168.192.in-addr.arpa",
        ),
        (Zone.LOOPBACK, "localhost a.localhost localhost. 127.0.0.1 ::1"),
        (Zone.LINK_LOCAL, "169.254.169.254 fe80::1"),
    ],
)
def test_the_zone_of_a_name_by_its_form(zone: Zone, names: str) -> None:
    assert {each: zone_of_name(each) for each in names.split()} == dict.fromkeys(names.split(), zone)


def test_nobody_sends_us_further_in_than_he_stands() -> None:
    assert reach_from(Zone.PUBLIC) == {Zone.PUBLIC}
    assert reach_from(Zone.PRIVATE) == {Zone.PUBLIC, Zone.PRIVATE}
