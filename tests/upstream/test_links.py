"""``Link`` headers: where the next page is."""

from __future__ import annotations

import time

import pytest

from registry_cache.upstream.links import next_link

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
