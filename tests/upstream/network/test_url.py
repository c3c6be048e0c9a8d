"""URLs that an upstream sends us to: which are taken, and where they lead."""

from __future__ import annotations

import pytest

from registry_cache.errors import UpstreamError
from registry_cache.upstream.network.url import MAX_URL_LENGTH, Url, is_at, origin, parse_url, query_of


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://Registry.Example.com/v2/", ("https", "registry.example.com", 443)),
        ("http://registry", ("http", "registry", 80)),
        ("http://registry:5000/x?y#z", ("http", "registry", 5000)),
        ("https://[::1]:5000/", ("https", "::1", 5000)),
        ("HTTPS://registry", ("https", "registry", 443)),
        ("http://my_registry_1:5000", ("http", "my_registry_1", 5000)),
        ("http://registry./", ("http", "registry.", 80)),
        ("http://127.0.0.1:00080/", ("http", "127.0.0.1", 80)),
    ],
)
def test_origins(url: str, expected: tuple[str, str, int]) -> None:
    assert origin(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "/path",
            "//host/",
            "ftp://host/",
            "http:host",
            "http:/host/",
            "http://",
            "http:///path",
            " http://host/",
        ),
        *("http://host:99999/", "http://host:x/", "http://host:0/", "http://host:/", "http://host:-1/"),
        *("http://[broken/", "http://[::1", "http://[::1%eth0]/", "http://[::1%25eth0]/", "http://[1.2.3.4]/"),
        *("http://[::1].host/", "http://user:password@registry/", "http://user@registry/", "http://@registry/"),
        *("http://other\\@registry/", "http://registry\\.other/", "http://registry/a\\b", "http://registry/?a\\b"),
        *("http://a b/", "http://a/b c", "http://a\tb/", "http://a/\n", "http://a/\x00", "http://a/\x7f"),
        *("http://h\u00f6st/", "http://host/\u00e9", "http://\uff45xample/", "http://host/?\u2028", "http://a%2eb/"),
        *("http://.host/", "http://a..b/", "http://-a/", "http://a-/", "http://*.host/", f"http://{'a' * 64}/"),
        *("http://2130706433/", "http://0x7f.1/", "http://127.1/", "http://0177.0.0.1/", "http://1.2.3.4.5/"),
        *("http://256.1.1.1/", "http://a.0x/", "http://1.2.3.4./", f"http://{'a.' * 127}/", "http://a/" + "b" * 16384),
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UpstreamError, match="no address"):
        parse_url(url)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("/v2/x?y", "https://here:5000/v2/x?y"),
        ("//bucket//key", "https://bucket//key"),
        ("https://bucket//key//?X-Sig=a%2fb&e=", "https://bucket//key//?X-Sig=a%2fb&e="),
        ("https://bucket", "https://bucket/"),
        ("HTTP://Bucket:80?a#b", "http://bucket/?a"),
        ("http://[FE80::1]:443/", "http://[fe80::1]:443/"),
        ("?page=2", "https://here:5000//a/b?page=2"),
        ("", "https://here:5000//a/b?c"),
        ("#there", "https://here:5000//a/b?c"),
        ("next", "https://here:5000//a/next"),
        (" https://bucket/key ", "https://bucket/key"),
        ("/a key/caf\xe9?n=\xc3\xa9 b", "https://here:5000/a%20key/caf%E9?n=%C3%A9%20b"),
        ("./next?d", "https://here:5000//a/next?d"),
        ("../next", "https://here:5000//next"),
    ],
)
def test_where_a_reference_leads(reference: str, expected: str) -> None:
    assert str(parse_url("https://here:5000//a/b?c").join(reference)) == expected


@pytest.mark.parametrize(
    "reference",
    [
        *("//other\\@here/", "/\\other/", "\\\\other/", "ftp:x", "here:5000/x", "javascript:x", "//", "///x"),
        *("x\x00", "/\u0142", "//a b/", "/" + "x" * MAX_URL_LENGTH, "//user@here/"),
    ],
)
def test_what_leads_nowhere(reference: str) -> None:
    with pytest.raises(UpstreamError, match="no address"):
        parse_url("https://here/a").join(reference)


@pytest.mark.parametrize(
    ("link", "query"),
    [
        ("/v2/x/tags/list?n=1&last=b#c", "n=1&last=b"),
        ("?n=1", "n=1"),
        ("https://other/?n=1", "n=1"),
        ("tags/list?n=1", "n=1"),
        *((each, "n=1") for each in ("http://[x/?n=1", "https://x:99999/?n=1", "ftp://x/?n=1")),
        *((each, None) for each in ("", "/v2/", "/v2/?", "/#?n=1", "?\\")),
    ],
)
def test_the_query_of_a_link(link: str, query: str | None) -> None:
    assert query_of(link) == query


def test_a_query_is_added_to_what_there_is() -> None:
    assert [parse_url("http://t" + each).with_query("a=b").target for each in ("", "/x?", "/x?y", "/x")] == [
        *("/?a=b", "/x?a=b", "/x?y&a=b", "/x?a=b")
    ]
    assert Url("http", "t", 80).path == "/"


@pytest.mark.parametrize(
    ("place", "home", "expected"),
    [
        ("http://a/", "http://a:80/", True),
        ("https://a/", "http://a/", True),
        ("https://a:8443/", "http://a:5000/", True),
        ("http://a/", "https://a/", False),
        ("http://a:81/", "http://a/", False),
        ("https://a:444/", "https://a/", False),
        ("https://b.a/", "http://a/", False),
    ],
)
def test_what_one_host_may_see_by_https_too(place: str, home: str, expected: bool) -> None:
    assert is_at(origin(place), origin(home)) is expected
