"""``Link`` headers: where the next page is."""

from __future__ import annotations

import time

import pytest

from registry_cache.errors import UpstreamError
from registry_cache.upstream.links import NextPage, next_link, next_page
from registry_cache.upstream.network.url import parse_url

URL = "/v2/library/app/tags/list?next_page=5"


@pytest.mark.parametrize(
    "header",
    [
        f'<{URL}>; rel="next"',
        f"<{URL}>;rel=next",
        f"<{URL}>; rel='next'",
        f"< {URL} > ; REL = NEXT ;",
        f'<{URL}>; rel="prev next"',
        f'<{URL}>; rel="next"; rel="last"',
        f'<{URL}>; rel="next", </first>; rel="first"',
        f'</first>; rel="first", <{URL}>; rel="next"',
        f'<{URL}>; title="all, \\"but\\" <these>; rel=last"; crossorigin; rel="next"',
        f"{URL}; rel=next",
    ],
)
def test_the_next_page_however_it_is_written(header: str) -> None:
    assert next_link([header]) == URL
    assert next_link(['</first>; rel="first"', header]) == URL


@pytest.mark.parametrize("url", ["?a=b;c&last=d,e", "https://other:5000/v2/x?y=%2Fz", "list?n=1"])
def test_a_url_stays_as_it_is(url: str) -> None:
    assert next_link([f'<{url}>; rel="next"']) == url


@pytest.mark.parametrize(
    "header",
    [
        "",
        "next",
        f"<{URL}>",
        f'<{URL}>; rel="nextcloud"',
        f'<{URL}>; title="rel=next"',
        ";rel=next",
    ],
)
def test_what_names_no_next_page(header: str) -> None:
    assert next_link([header]) is None


@pytest.mark.parametrize("piece", ["<", "<a>", '<a>;b="', ";a", "a;", " ", '"', "<a>;b=c ", "\\"])
def test_a_hostile_header_costs_no_time(piece: str) -> None:
    began = time.process_time()
    assert next_link([piece * 1_000_000]) is None
    assert time.process_time() - began < 1


ASKED = parse_url("https://registry.example/v2/team/app/tags/list?n=2")


@pytest.mark.parametrize(
    ("link", "tail", "query"),
    [
        ("/v2/team/app/tags/list?last=b", "list", "last=b"),
        ("https://nowhere:99999/prefix/v2/team/app/tags/list?last=b", "list", "last=b"),
        ("?last=b", "list", "last=b"),
        ("list?last=b", "list", "last=b"),
        ("//elsewhere/?last=b", "list", "last=b"),
        ("/v2/team/app/tags/list/page/2", "list/page/2", ""),
        ("https://registry.example/v2/team/app/tags/list/2#here", "list/2", ""),
        ("list;page=2", "list;page=2", ""),
        ("/v2/team/app/tags/page2?n=5", "page2", "n=5"),
        # Names may hold the folder's.
        ("/v2/a/tags/tags/tags/2", "2", ""),
    ],
)
def test_a_next_page_by_its_query_its_path_or_both(link: str, tail: str, query: str) -> None:
    assert next_page([f'<{link}>; rel="next"'], ASKED, "tags", "list") == NextPage(tail, query)


@pytest.mark.parametrize("link", ["/v2/team/app/tags/list", "list", "https://registry.example/v2/team/app/tags/list?"])
def test_a_link_to_the_first_page_is_the_end(link: str) -> None:
    assert next_page([f'<{link}>; rel="next"'], ASKED, "tags", "list") is None
    assert next_page([], ASKED, "tags", "list") is None


@pytest.mark.parametrize(
    "link",
    [
        "/api/next/2",
        "https://registry.example/other",
        "/v2/team/app/tags/../../../secret/tags/..",
        "/v2/team/app/tags/list/../2",
        "/v2/team/app/tags//2",
        "/v2/team/app/tags/" + "x" * 2000,
    ],
)
def test_a_link_that_leads_nowhere_is_no_end(link: str) -> None:
    with pytest.raises(UpstreamError, match="a list goes on"):
        next_page([f'<{link}>; rel="next"'], ASKED, "tags", "list")
