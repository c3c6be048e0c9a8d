"""Whose token server it is, and what it may be told."""

from __future__ import annotations

import pytest

from registry_cache.errors import UpstreamError
from registry_cache.upstream.credentials.realm import RealmRules, Trust
from registry_cache.upstream.network.url import origin
from registry_cache.upstream.network.zones import Zone, reach_from

PRIVATE = ("10.0.0.1", "registry.lan", "127.0.0.1")


def trust(registry: str, realm: str, has_account: bool, allowed: tuple[str, ...] = ()) -> Trust:
    reach = reach_from(Zone.PRIVATE if origin(registry)[1] in PRIVATE else Zone.PUBLIC)
    return RealmRules("it", allowed).trust(origin(registry), realm, reach, has_account=lambda: has_account)


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        ("https://registry-1.docker.io", "https://auth.docker.io/token"),
        ("https://registry-1.docker.io", "https://AUTH.Docker.IO/token"),
        ("https://registry-1.docker.io", "https://auth.docker.io:8443/token"),
        ("https://ghcr.io", "https://ghcr.io/token"),
        ("http://registry.example.com", "https://auth.example.com/token"),
        ("https://r.a.co.uk", "https://auth.a.co.uk/token"),
        ("https://r.a.com.br", "https://auth.a.com.br/token"),
        ("https://10.0.0.1", "https://10.0.0.1/token"),
    ],
)
def test_its_own_may_see_the_account(registry: str, realm: str) -> None:
    assert trust(registry, realm, True) == trust(registry, realm, False) == "account"


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        ("https://registry-1.docker.io", "https://docker.io.evil.com/token"),
        ("https://registry-1.docker.io", "https://evildocker.io/token"),
        ("https://a.co.uk", "https://b.co.uk/token"),
        ("https://r.a.com.br", "https://auth.b.com.br/token"),
        ("https://mine.github.io", "https://yours.github.io/token"),
        ("https://registry", "https://auth/token"),
        ("http://8.8.8.8", "http://8.8.4.4/token"),
    ],
)
def test_another_is_asked_anonymously_and_never_with_an_account(registry: str, realm: str) -> None:
    assert trust(registry, realm, False) == "public"
    assert trust(registry, realm, True, (origin(realm)[1],)) == "account"
    with pytest.raises(UpstreamError, match="under tokenrealms"):
        trust(registry, realm, True)


@pytest.mark.parametrize("has_account", [False, True])
@pytest.mark.parametrize("realm", ["http://auth.docker.io/token", "http://registry-1.docker.io/token"])
def test_plain_http_of_a_registry_with_https_is_refused_and_no_key_is_named_that_does_not_help(
    realm: str, has_account: bool
) -> None:
    with pytest.raises(UpstreamError, match="plain http") as error:
        trust("https://registry-1.docker.io", realm, has_account, (origin(realm)[1],))
    assert "tokenrealms" not in error.value.message


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "[fe80::1]", "localhost", "a.localhost"]
)
def test_a_private_address_is_asked_where_the_registry_is_private_itself(host: str) -> None:
    realm = f"https://{host}/token"
    with pytest.raises(UpstreamError, match="private address"):
        trust("https://registry.example.com", realm, False)
    assert trust("https://registry.lan", realm, False) == "anonymous"
    assert trust("http://10.0.0.1", realm.replace("https", "http"), False) == "anonymous"
    assert trust("https://registry.example.com", realm, False, (origin(realm)[1],)) == "account"


@pytest.mark.parametrize(
    "realm", ["https://auth.docker.io@evil.com/token", "https://evil.com\\@auth.docker.io/token", "//auth.docker.io/"]
)
def test_what_programs_may_read_differently_is_no_token_server(realm: str) -> None:
    with pytest.raises(UpstreamError, match="no address"):
        trust("https://registry-1.docker.io", realm, False, ("auth.docker.io", "evil.com"))
