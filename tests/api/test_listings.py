"""Lists: tags and referrers as upstream has them, the catalog of what is here."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.harness.content import APP, OCI_INDEX
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import make_artifact, make_fallback_tag, make_image, sign_as_cosign
from tests.harness.pullers import Answer, Puller
from tests.harness.server import CacheServer
from tests.harness.telling import message
from tests.harness.upstream import FakeUpstream

TAGS = [f"v{number:02}" for number in range(7)]


def next_link(answer: Answer) -> str | None:
    """The URL of the next page."""
    link = answer.headers["Link"]
    if link is None:
        return None
    found = re.fullmatch(r'<([^>]+)>; rel="next"', link)
    assert found, link
    return found[1]


def whole(pages: Iterable[list[str]]) -> list[str]:
    """What all pages hold."""
    return list(chain.from_iterable(pages))


def pages(puller: Puller, url: str | None, key: str) -> Iterator[list[str]]:
    """Follow the links from `url` to the last page."""
    while url is not None:
        assert url.startswith("/v2/"), "a link must point at us"
        answer = puller.get(url)
        assert answer.status == 200
        yield answer.json()[key]
        url = next_link(answer)


@pytest.fixture
def tagged(upstream: FakeUpstream) -> str:
    """The digest of an image with TAGS."""
    image = make_image(upstream, tag=None)
    for tag in TAGS:
        upstream.tag(APP, tag, image.digest)
    return image.digest


@pytest.mark.usefixtures("tagged")
@pytest.mark.parametrize("upstreams_page", [None, 2])
def test_tags_come_in_pages_whose_links_point_here(
    upstream: FakeUpstream, puller: Puller, upstreams_page: int | None
) -> None:
    upstream.faults.page_size = upstreams_page
    assert puller.get(f"/v2/{APP}/tags/list").json()["name"] == APP
    assert whole(pages(puller, f"/v2/{APP}/tags/list", "tags")) == TAGS
    for count in (1, 3, 7, 100):
        found = list(pages(puller, f"/v2/{APP}/tags/list?n={count}", "tags"))
        assert whole(found) == TAGS
        assert max(map(len, found)) <= count
    assert puller.get(f"/v2/{APP}/tags/list?n=2&last=v03").json()["tags"] == ["v04", "v05"]


@pytest.mark.usefixtures("tagged")
def test_an_upstream_that_knows_no_pages_is_cut_into_pages_that_end(upstream: FakeUpstream, puller: Puller) -> None:
    upstream.faults.no_paging = True
    assert whole(pages(puller, f"/v2/{APP}/tags/list", "tags")) == TAGS
    for count in (1, 3, 7, 100):
        assert whole(islice(pages(puller, f"/v2/{APP}/tags/list?n={count}", "tags"), 2 * len(TAGS))) == TAGS
    assert puller.get(f"/v2/{APP}/tags/list?n=2&last=v03").json()["tags"] == ["v04", "v05"]


@pytest.mark.parametrize("link", ["?cursor=opaque", "?n=2&last=b", "?n=2&last=opaque"])
def test_a_next_page_that_is_the_same_again_is_an_error_and_no_end(
    upstream: FakeUpstream, puller: Puller, link: str
) -> None:
    path = f"/v2/{APP}/tags/list"
    upstream.faults.answer("/tags/list", 200, b'{"tags": ["a", "b"]}', Link=f'<{path}{link}>; rel="next"')
    answer = puller.get(f"{path}?n=2")
    if link.endswith("last=b"):
        assert answer.json()["tags"] == ["a", "b"]
        answer = puller.get(f"{path}?n=2&last=b")
    assert answer.status == 502
    assert "does not end" in message(answer)


@pytest.mark.usefixtures("tagged")
def test_a_link_keeps_the_namespace_that_the_client_named(upstream: FakeUpstream, puller: Puller) -> None:
    namespace = urlsplit(upstream.url).netloc
    url = next_link(puller.get(f"/v2/{APP}/tags/list?n=3&ns={namespace}"))
    assert url is not None
    assert parse_qs(urlsplit(url).query)["ns"] == [namespace]
    assert puller.get(url).json()["tags"] == TAGS[3:6]


@pytest.mark.usefixtures("tagged")
def test_no_tags_is_an_empty_list_and_no_number_an_error(puller: Puller) -> None:
    assert puller.get(f"/v2/{APP}/tags/list?n=0").json() == {"name": APP, "tags": []}
    for count in ("-1", "x", "1e3", "", "²", "9" * 50):
        answer = puller.get(f"/v2/{APP}/tags/list?n={'%C2%B2' if count == '²' else count}")
        assert (answer.status, answer.json()["errors"][0]["code"]) == (400, "UNSUPPORTED"), count


@pytest.mark.usefixtures("tagged")
def test_without_an_answer_the_tags_that_were_pulled_are_listed(upstream: FakeUpstream, puller: Puller) -> None:
    puller.manifest("v03")
    puller.manifest("v01")
    upstream.stop()
    answer = puller.get(f"/v2/{APP}/tags/list")
    assert (answer.status, answer.headers["X-Cache"]) == (200, "stale")
    assert answer.json()["tags"] == ["v01", "v03"]
    assert answer.headers["Warning"].startswith("299 - ")
    assert puller.get("/v2/library/other/tags/list").status in (503, 504)


def test_a_repository_that_upstream_does_not_have(puller: Puller) -> None:
    answer = puller.get("/v2/library/nothing/tags/list")
    assert (answer.status, answer.json()["errors"][0]["code"]) == (404, "NAME_UNKNOWN")


@pytest.mark.parametrize("scheme", ["api", "paged api", "tag", "500 and a tag", "403 and a tag"])
def test_what_refers_to_an_image(upstream: FakeUpstream, puller: Puller, scheme: str) -> None:
    image = make_image(upstream)
    kinds = {make_artifact(upstream, image.digest, artifact_type=f"a/{n}", data=b"%d" % n): f"a/{n}" for n in range(3)}
    if "tag" in scheme:
        make_fallback_tag(upstream, image.digest)
        upstream.faults.no_referrers = True
    if " and " in scheme:
        upstream.faults.answer("/referrers/", int(scheme[:3]), b"<h1>no such path</h1>", Content_Type="text/html")
    elif scheme == "paged api":
        upstream.faults.page_size = 1

    answer = puller.get(f"/v2/{APP}/referrers/{image.digest}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, OCI_INDEX)
    assert answer.headers["OCI-Filters-Applied"] is None
    index = answer.json()
    assert (index["schemaVersion"], index["mediaType"]) == (2, OCI_INDEX)
    assert {each["digest"]: each["artifactType"] for each in index["manifests"]} == kinds

    filtered = puller.get(f"/v2/{APP}/referrers/{image.digest}?artifactType=a/1")
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    assert [each["artifactType"] for each in filtered.json()["manifests"]] == ["a/1"]


@pytest.mark.parametrize("status", [200, 400, 404, 405, 406, 501])
def test_a_registry_without_a_referrers_api_has_the_fallback_tag_however_it_says_so(
    upstream: FakeUpstream, puller: Puller, status: int
) -> None:
    image = make_image(upstream)
    signature = make_artifact(upstream, image.digest)
    make_fallback_tag(upstream, image.digest)
    upstream.faults.answer("/referrers/", status, b"<html>not here</html>")
    answer = puller.get(f"/v2/{APP}/referrers/{image.digest}")
    assert (answer.status, answer.headers["X-Cache"]) == (200, "miss")
    assert [each["digest"] for each in answer.json()["manifests"]] == [signature]


def test_where_the_api_fails_and_there_is_no_tag_nothing_is_said_to_be_absent(
    upstream: FakeUpstream, puller: Puller
) -> None:
    image = make_image(upstream)
    upstream.faults.answer("/referrers/", 500)
    assert puller.get(f"/v2/{APP}/referrers/{image.digest}").status == 503


def test_referrers_of_a_stale_fallback_tag_are_stale(upstream: FakeUpstream, puller: Puller) -> None:
    image = make_image(upstream)
    signature = make_artifact(upstream, image.digest)
    tag = make_fallback_tag(upstream, image.digest)
    upstream.faults.no_referrers = True
    assert puller.manifest(tag).status == 200
    upstream.faults.answer("/manifests/", 503)
    answer = puller.get(f"/v2/{APP}/referrers/{image.digest}")
    assert (answer.status, answer.headers["X-Cache"]) == (200, "stale")
    assert answer.headers["Warning"].startswith("299 - ")
    assert [each["digest"] for each in answer.json()["manifests"]] == [signature]


@pytest.mark.parametrize("path", ["tags/list", "referrers/{digest}"])
def test_what_is_known_of_a_list_is_served_after_a_tags_patience(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller, path: str
) -> None:
    puller = make_puller(make_cache({"proxy": {"tag_timeout": "300ms"}}, workers=1).url)
    image = make_image(upstream, tag="1")
    url = f"/v2/{APP}/" + path.format(digest=image.digest)
    puller.manifest("1")
    before = puller.get(url).json()
    upstream.faults.hold_before = "/tags/list|/referrers/"
    answer = puller.get(url)
    assert (answer.status, answer.headers["X-Cache"], answer.json()) == (200, "stale", before)
    assert "no answer in 0.3 s" in answer.headers["Warning"]


@pytest.mark.parametrize("no_referrers", [False, True])
def test_nothing_refers_to_it(upstream: FakeUpstream, puller: Puller, no_referrers: bool) -> None:
    upstream.faults.no_referrers = no_referrers
    for subject in (make_image(upstream).digest, "sha256:" + "0" * 64):
        answer = puller.get(f"/v2/{APP}/referrers/{subject}")
        assert (answer.status, answer.json()["manifests"]) == (200, [])


def test_referrers_follow_the_upstream_and_outlive_it(upstream: FakeUpstream, puller: Puller) -> None:
    image = make_image(upstream)
    path = f"/v2/{APP}/referrers/{image.digest}"
    assert puller.get(path).json()["manifests"] == []
    signature = make_artifact(upstream, image.digest)
    assert [each["digest"] for each in puller.get(path).json()["manifests"]] == [signature]
    upstream.stop()
    stale = puller.get(path)
    assert (stale.status, stale.headers["X-Cache"]) == (200, "stale")
    assert [each["digest"] for each in stale.json()["manifests"]] == [signature]
    assert puller.get(f"/v2/{APP}/referrers/sha256:{'0' * 64}").status in (503, 504)


def test_a_cosign_signature_is_a_tag_like_any_other(upstream: FakeUpstream, puller: Puller) -> None:
    tag = sign_as_cosign(upstream, make_image(upstream).digest)
    assert puller.manifest(tag).status == 200
    assert tag in puller.get(f"/v2/{APP}/tags/list").json()["tags"]


def test_the_catalog_lists_what_is_here(upstream: FakeUpstream, cache: CacheServer, puller: Puller) -> None:
    assert puller.get("/v2/_catalog").json() == {"repositories": []}
    repositories = ["a", "a/b", "a/b-c/d", "b", "library/app"]
    for repository in repositories:
        make_image(upstream, repository, layers=1)
        puller.manifest("1", repository)
    make_image(upstream, "never/pulled", layers=1)

    assert puller.get("/v2/_catalog").json() == {"repositories": repositories}
    for count in (1, 2, 5, 9):
        assert whole(pages(puller, f"/v2/_catalog?n={count}", "repositories")) == repositories
    assert puller.get("/v2/_catalog?n=0").json() == {"repositories": []}
    assert puller.get("/v2/_catalog?n=x").status == 400
