"""The whole list of tags arrives, none twice and none missing, however a registry pages it."""

from __future__ import annotations

import json
import time

import pytest

from registry_cache.errors import UpstreamError
from registry_cache.upstream import tag_lists
from registry_cache.upstream.client import Upstream
from registry_cache.upstream.tag_lists import WHOLE_LIST_SECONDS, behind, is_by_last
from tests.harness.pull_rig import Clock
from tests.harness.store_rig import APP
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import connect

TAGS = sorted(f"t{number}" for number in range(120))


@pytest.fixture
def upstream(upstream: FakeUpstream) -> FakeUpstream:
    digest = upstream.add_manifest(b"{}")
    for tag in TAGS:
        upstream.tag(str(APP), tag, digest)
    return upstream


def client_pages(registry: Upstream, count: int | None) -> list[str]:
    """What a client gets that follows the pages, cut to what it asked for."""
    seen: list[str] = []
    last = None
    while True:
        page = registry.list_tags(APP, count, last)
        names = page.names[:count]
        seen += names
        is_end = page.last is None and len(page.names) == len(names)
        if is_end or not names:
            return seen
        last = names[-1]


@pytest.mark.parametrize("count", [None, 7, 50, 1000])
@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"page_size": 30},
        {"no_paging": True},
        {"page_by_token": True},
        {"page_by_token": True, "page_size": 11},
        *(
            {"max_n": (40, status), "page_by_token": by_token}
            for status in (400, 403, 405, 413, 422, 500)
            for by_token in (True, False)
        ),
    ],
)
def test_none_twice_and_none_missing(upstream: FakeUpstream, knobs: dict[str, object], count: int | None) -> None:
    for name, value in knobs.items():
        setattr(upstream.faults, name, value)
    assert client_pages(connect(upstream.url), count) == TAGS


def test_a_page_names_each_once_and_its_next_is_found_wherever_it_is_said_to_be(upstream: FakeUpstream) -> None:
    for tags, link in (("a b a", '<https://nowhere:99999/?n=3&last=a>; rel="next"'), ("c c", "")):
        body = json.dumps({"name": str(APP), "tags": tags.split()}).encode()
        upstream.faults.answer("/tags/list", 200, body, 1, Link=link)
    assert connect(upstream.url).list_tags(APP, None, None).names == ["a", "b", "c"]


@pytest.mark.parametrize("count", [None, 2])
def test_a_next_page_may_be_told_by_its_path_alone(upstream: FakeUpstream, count: int | None) -> None:
    for number, path in enumerate(("tags/list$", "tags/list/2", "tags/list/3")):
        body = json.dumps({"name": str(APP), "tags": [f"a{number}", f"b{number}"]}).encode()
        link = f'</v2/{APP}/tags/list/{number + 2}>; rel="next"' if number < 2 else ""
        upstream.faults.answer(path, 200, body, Link=link)
    assert client_pages(connect(upstream.url), count) == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_pages_of_the_specs_kind_are_passed_on(upstream: FakeUpstream) -> None:
    registry = connect(upstream.url)
    page = registry.list_tags(APP, 10, "t105")
    assert (page.names, page.last) == (TAGS[TAGS.index("t105") + 1 :][:10], page.names[-1])
    assert len(upstream.exchanges) == 1


@pytest.mark.parametrize("body", [b"{}", b'{"status": "maintenance"}', b'{"errors": []}'])
def test_what_is_about_something_else_is_no_empty_list(upstream: FakeUpstream, body: bytes) -> None:
    upstream.faults.answer("tags/list", 200, body)
    with pytest.raises(UpstreamError, match="no list of tags"):
        connect(upstream.url).list_tags(APP, None, None)


def test_a_whole_list_is_fetched_once_for_its_pages_and_then_anew(upstream: FakeUpstream) -> None:
    registry, clock = connect(upstream.url), Clock()
    registry._tag_lists._clock = clock
    upstream.faults.page_by_token = True
    assert client_pages(registry, 10) == TAGS
    requests = len(upstream.exchanges)
    assert requests <= 1 + 120 / 50 + 1
    # The first page is asked for each time: a tag may be new.
    upstream.tag(str(APP), "t0-new", upstream.add_manifest(b"{}"))
    assert "t0-new" in registry.list_tags(APP, 10, None).names
    assert len(upstream.exchanges) == 2 * requests
    clock.now += WHOLE_LIST_SECONDS
    assert registry.list_tags(APP, 10, TAGS[-2]).names == TAGS[-1:]
    assert len(upstream.exchanges) > 2 * requests


@pytest.mark.parametrize("tags", [b'["a", "b"]', b"[]", b"null"])
def test_a_page_that_brings_nothing_new_is_an_error_and_no_short_list(upstream: FakeUpstream, tags: bytes) -> None:
    upstream.faults.answer("/tags/list", 200, b'{"tags": %s}' % tags, Link='</x?next_page=1>; rel="next"')
    with pytest.raises(UpstreamError, match="does not end"):
        connect(upstream.url).list_tags(APP, None, None)


@pytest.mark.parametrize(
    ("names", "query", "last", "by_last"),
    [
        (["b", "c"], None, "a", True),
        (["b", "c"], "last=c&n=2", "a", True),
        (["b", "c"], "last=c&n=2", None, True),
        ([], None, "z", True),
        (["a", "b"], None, "a", False),
        (["b"], "next_page=x", None, False),
        (["b"], "last=x", None, False),
        ([], "last=x", None, False),
    ],
)
def test_which_pages_are_the_specs(names: list[str], query: str | None, last: str | None, by_last: bool) -> None:
    assert is_by_last(names, query, last) is by_last


def test_what_is_behind_a_tag_that_is_gone() -> None:
    assert behind(["c", "a", "b"], "a") == ["b"]
    assert behind(["a", "c"], "b") == ["c"]
    assert behind(["a"], None) == ["a"]


def test_a_list_that_is_put_together_has_a_bound(upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page is within its own, and brings something new."""
    monkeypatch.setattr(tag_lists, "MAX_NAMES_SIZE", 3000)
    upstream.faults.page_by_token, upstream.faults.page_size = True, 11
    with pytest.raises(UpstreamError, match="is too long"):
        connect(upstream.url).list_tags(APP, 7, None)


def test_lists_that_are_kept_have_a_bound_together(upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tag_lists, "MAX_KEPT", 1000)
    upstream.faults.page_by_token = True
    registry = connect(upstream.url)
    assert registry.list_tags(APP, 7, None).names == TAGS
    assert len(registry._tag_lists._whole) == 0


def test_half_a_million_names_are_looked_at_in_many_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """To hash them all at once keeps everybody else waiting for a fifth of a second."""
    turns: list[float] = []
    monkeypatch.setattr(time, "sleep", turns.append)
    names = [f"t{number}" for number in range(200_000)]

    assert tag_lists._unique([*names, *names]) == names

    assert len(turns) == 9
    assert tag_lists._unique(["a", "b"], {"a"}) == ["b"]
