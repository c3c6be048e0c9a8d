"""What counts as one client."""

from __future__ import annotations

import pytest

from registry_cache.runtime.networks import network


@pytest.mark.parametrize(
    ("address", "of"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        (None, ""),
        ("unix:", ""),
    ],
)
def test_what_one_client_has(address: str | None, of: str) -> None:
    assert network(address) == of
