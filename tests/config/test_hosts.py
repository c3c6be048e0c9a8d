"""Names of registries, and the URLs they follow from."""

from __future__ import annotations

import pytest

from registry_cache.config.hosts import HUB, HUB_URL, Remote, parse_host, parse_remote
from registry_cache.config.problems import InvalidValue


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ghcr.io", "ghcr.io"),
        ("GHCR.io", "ghcr.io"),
        ("localhost:5000", "localhost:5000"),
        ("[::1]:5000", "[::1]:5000"),
        ("127.0.0.1:65535", "127.0.0.1:65535"),
        ("docker.io", HUB),
        ("index.docker.io", HUB),
        ("registry-1.docker.io", HUB),
        ("registry.hub.docker.com", HUB),
        ("Registry-1.Docker.io", HUB),
        ("registry-1.docker.io:443", HUB),
        ("registry.scout.docker.com", "registry.scout.docker.com"),
        ("my_reg_", "my_reg_"),
        ("1.2.example", "1.2.example"),
        ("hub_mirror:5000", "hub_mirror:5000"),
        ("my_reg.my_net", "my_reg.my_net"),
    ],
)
def test_names(text: str, expected: str) -> None:
    assert parse_host(text) == expected


NO_NAMES = [
    "", ".", "..", "_tags", "a/b", "a b", "-a", "a-", "a..b", "a:", ":5000", "a:0", "a:65536", "https://a", "é.io",
    "a\n", "_a", "a._b", "hub.docker.com", "HUB.docker.com:443", "auth.docker.io", "docker.com", "registry.docker.io",
    "www.docker.io", "app.docker.com", "production.cloudflare.docker.com", "index.docker.io:5000", "docker.io:8443",
    "1.2.3", "1.2.3:5000", "1.2.3.4.5", "256.1.1.1", "0x7f.1", "2130706433", "a.1",
]  # fmt: skip


@pytest.mark.parametrize("text", [*NO_NAMES, pytest.param("a." * 130 + "a", id="too long")])
def test_no_names(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_host(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://registry-1.docker.io", Remote(HUB, HUB_URL)),
        ("https://index.docker.io/", Remote(HUB, HUB_URL)),
        ("http://docker.io:80", Remote(HUB, HUB_URL)),
        ("http://hub_mirror:5000", Remote("hub_mirror:5000", "http://hub_mirror:5000")),
        ("https://ghcr.io/", Remote("ghcr.io", "https://ghcr.io")),
        ("https://GHCR.io:443", Remote("ghcr.io", "https://ghcr.io")),
        ("http://127.0.0.1:5001", Remote("127.0.0.1:5001", "http://127.0.0.1:5001")),
        ("http://[::1]:5001", Remote("[::1]:5001", "http://[::1]:5001")),
        ("https://art.example/api/docker/hub/", Remote("art.example", "https://art.example/api/docker/hub")),
    ],
)
def test_remotes(text: str, expected: Remote) -> None:
    assert parse_remote(text) == expected


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("registry-1.docker.io", "not an http"),
        ("registry.local:5000", "not an http or https URL; write it with its scheme: https://registry.local:5000$"),
        ("someone:hunter2@a.example", "its scheme: https://registry.example.com$"),
        ("ftp://a.example", "not an http"),
        ("https://", "not an http"),
        ("http://[", "not a URL"),
        ("https://a.example:99999", "not a URL"),
        ("https://a.example:port", "not a URL"),
        ("https://a.example:0", "out of range"),
        ("https://someone:hunter2@a.example", "credentials"),
        ("https://a.example/v2/", "version; leave out /v2"),
        ("https://a.example/V2", "version"),
        ("https://a.example/v1/", "version; leave out /v1"),
        ("https://a.example/v2/team", "version; leave out /v2/team"),
        ("https://a.example/api/hub/v2//", "version"),
        ("https://index.docker.io/v1/", f"version; write {HUB_URL}$"),
        ("https://registry.hub.docker.com/v2/", f"version; write {HUB_URL}$"),
        ("https://hub.docker.com/v2/", "not a registry"),
        ("https://hub.docker.com/_/nginx", "not a registry"),
        ("https://registry-1.docker.io:5000", "not a registry"),
        ("https://a.example/ team", "character"),
        ("https://a.example/t\u00e9am", "character"),
        ("http://1.2.3", "not a host name"),
        ("https://a.example/?q", "query"),
        ("https://_b.example", "not a host name; it may not begin with an underscore"),
        ("https://hub.docker.com", "not a registry"),
        ("https://hub.docker.com/r/library", "not a registry"),
        ("https://registry-1.docker.io/library", "nothing below /library"),
        ("https://docker.io/library/", "nothing below /library"),
    ],
)
def test_no_remotes(text: str, what: str) -> None:
    with pytest.raises(InvalidValue, match=what) as caught:
        parse_remote(text)
    assert "hunter2" not in str(caught.value)
