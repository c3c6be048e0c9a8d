"""Where a request comes from, as those say who are believed."""

from __future__ import annotations

import pytest

from registry_cache.runtime.trusted_proxies import Proxies


@pytest.mark.parametrize(
    ("named", "peer", "forwarded", "client"),
    [
        ("127.0.0.1,::1", "192.0.2.1", None, "192.0.2.1"),
        ("127.0.0.1,::1", "192.0.2.1", "203.0.113.7", "192.0.2.1"),
        ("127.0.0.1,::1", "127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("127.0.0.1,::1", "::1", "6.6.6.6, 2001:db8::7", "2001:db8::7"),
        ("10.0.0.0/8", "10.1.2.3", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.0/8", "127.0.0.1", "203.0.113.7", "127.0.0.1"),
        ("*", "192.0.2.1", "203.0.113.7", "203.0.113.7"),
        ("nonsense", "127.0.0.1", "203.0.113.7", "127.0.0.1"),
        ("", "", "6.6.6.6, 203.0.113.7", "203.0.113.7"),
        ("", "", None, None),
        ("", "", "unknown\n", None),
        ("*", "127.0.0.1", "<script>", "127.0.0.1"),
    ],
)
def test_a_proxy_is_believed_by_its_address(named: str, peer: str, forwarded: str | None, client: str | None) -> None:
    assert Proxies(named).client(peer, forwarded) == client


def test_gunicorns_own_variable_names_them() -> None:
    assert Proxies.of({"FORWARDED_ALLOW_IPS": "192.0.2.1"}).client("192.0.2.1", "203.0.113.7") == "203.0.113.7"
    assert Proxies.of({}).client("127.0.0.1", "203.0.113.7") == "203.0.113.7"
