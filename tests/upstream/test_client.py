"""What answers mean: a no, a limit, silence, or bytes; for manifests, blobs, tags and referrers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from contextvars import Context, copy_context

import pytest

from registry_cache.errors import (
    BlobUnknown,
    Denied,
    ManifestUnknown,
    NameUnknown,
    NotFound,
    RegistryError,
    TooManyRequests,
    UpstreamElsewhere,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import MAX_MANIFEST_SIZE
from registry_cache.oci.names import Repository, Tag
from registry_cache.runtime import unwanted_reads
from registry_cache.runtime.unwanted_reads import Reads
from registry_cache.upstream import client, rate_limits
from registry_cache.upstream.client import Upstream
from tests.harness.cdn import FakeCdn
from tests.harness.content import OCI_MANIFEST
from tests.harness.fixture_types import MakeUpstream
from tests.harness.images import make_artifact, make_image, random_bytes
from tests.harness.store_rig import APP, LATEST
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import connect, read_all
from tests.harness.waiting import SECONDS

DATA = random_bytes(100_000, seed=8)
DIGEST = Digest.of(DATA)
NAME = str(DIGEST)
ABSENT = Digest.of(b"absent")


@pytest.fixture
def registry(upstream: FakeUpstream) -> Upstream:
    upstream.add_blob(DATA)
    return connect(upstream.url, private_redirects=True)


def test_a_blob_and_its_size(registry: Upstream) -> None:
    assert registry.head_blob(APP, DIGEST) == len(DATA)
    body = registry.open_blob(APP, DIGEST)
    assert (body.start, body.size) == (0, len(DATA))
    assert read_all(body) == DATA


@pytest.mark.parametrize("start", [1, 50_000, len(DATA) - 1])
@pytest.mark.parametrize("no_range", [False, True])
def test_the_rest_of_a_blob(upstream: FakeUpstream, registry: Upstream, start: int, no_range: bool) -> None:
    upstream.faults.no_range = no_range
    body = registry.open_blob(APP, DIGEST, start)
    assert (body.start, body.size) == (start, len(DATA))
    assert read_all(body) == DATA[start:]


@pytest.mark.parametrize("status", [400, 405, 501])
def test_where_ranges_are_refused_the_whole_is_asked_for(
    upstream: FakeUpstream, registry: Upstream, status: int
) -> None:
    for start, stop in ((0, 10), (50_000, None), (len(DATA), None)):
        upstream.faults.answer("GET .*/blobs/", status, times=1)
        body = registry.open_blob(APP, DIGEST, start, stop)
        assert (body.size, read_all(body)) == (len(DATA), DATA[start:])
    upstream.faults.answer("GET .*/blobs/", status, times=1)
    assert registry.blob_size(APP, DIGEST) == len(DATA)
    upstream.faults.answer("GET .*/blobs/", status)
    with pytest.raises(UpstreamError):
        registry.open_blob(APP, DIGEST, 10)


def test_who_refuses_a_range_within_the_blob_is_asked_for_the_whole(upstream: FakeUpstream, registry: Upstream) -> None:
    """Else the download would take what it has for the whole, find it wrong, and cut its readers."""
    upstream.faults.answer("GET .*/blobs/", 416, b"", 1, **{"Content-Range": f"bytes */{len(DATA)}"})
    body = registry.open_blob(APP, DIGEST, 50_000)
    assert (body.size, read_all(body)) == (len(DATA), DATA[50_000:])


def test_nothing_behind_the_end(registry: Upstream) -> None:
    body = registry.open_blob(APP, DIGEST, len(DATA))
    assert (body.size, read_all(body)) == (len(DATA), b"")


def test_a_head_without_a_length_is_an_answer_and_a_get_tells_the_size(
    upstream: FakeUpstream, registry: Upstream
) -> None:
    upstream.faults.no_head_length = True
    assert registry.head_blob(APP, DIGEST) is None
    assert upstream.gets(NAME) == 0
    assert registry.blob_size(APP, DIGEST) == len(DATA)
    assert (upstream.heads(NAME), upstream.gets(NAME)) == (1, 1)


@pytest.mark.parametrize(("no_range", "size"), [(False, len(DATA)), (True, None)])
def test_a_size_that_no_length_tells(
    upstream: FakeUpstream, registry: Upstream, no_range: bool, size: int | None
) -> None:
    upstream.faults.no_length, upstream.faults.no_range = True, no_range
    assert registry.blob_size(APP, DIGEST) == size


@pytest.mark.parametrize("status", [405, 501])
def test_a_registry_that_knows_no_head_of_blobs(upstream: FakeUpstream, registry: Upstream, status: int) -> None:
    upstream.faults.answer("HEAD .*/blobs/", status)
    assert registry.head_blob(APP, DIGEST) == len(DATA)
    with pytest.raises(BlobUnknown):
        registry.head_blob(APP, ABSENT)


def test_a_redirect_that_is_signed_for_a_get_alone(upstream: FakeUpstream, registry: Upstream, cdn: FakeCdn) -> None:
    upstream.faults.redirect_blobs_to, cdn.get_only = cdn, True
    assert registry.head_blob(APP, DIGEST) == len(DATA)
    assert [(each.method, each.status) for each in cdn.exchanges] == [("HEAD", 403), ("GET", 206)]


def test_a_content_server_that_refuses_a_get_too_says_nothing(
    upstream: FakeUpstream, registry: Upstream, cdn: FakeCdn
) -> None:
    upstream.faults.redirect_blobs_to, cdn.status = cdn, 404
    with pytest.raises(UpstreamElsewhere, match=r"content server of docker\.io answered 404"):
        registry.head_blob(APP, DIGEST)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, UpstreamError) for status in (307, 400, 405, 410, 451)),
        *((status, UpstreamUnavailable) for status in (304, 408, 500, 503)),
        *((403, Denied), (404, BlobUnknown), (429, TooManyRequests)),
    ],
)
def test_what_a_status_means(
    upstream: FakeUpstream, registry: Upstream, status: int, kind: type[RegistryError]
) -> None:
    body = b'{"errors":[{"message":"for a reason"}]}'
    upstream.faults.answer("/blobs/", status, body, Retry_After="30", Docker_Distribution_Api_Version="registry/2.0")
    for ask in (registry.open_blob, registry.head_blob):
        with pytest.raises(kind) as error:
            ask(APP, DIGEST)
        assert type(error.value) is kind
        if status in (429, 503):
            assert error.value.retry_after == pytest.approx(30, abs=2)
    assert "docker.io" in error.value.message


@pytest.mark.parametrize("wait", [{}, {"Retry_After": "0"}])
def test_a_blob_that_was_asked_for_too_fast_is_asked_for_again(
    upstream: FakeUpstream, registry: Upstream, monkeypatch: pytest.MonkeyPatch, wait: dict[str, str]
) -> None:
    monkeypatch.setattr(rate_limits, "BURST_SECONDS", 0.01)
    for status in (429, 429, 200):
        upstream.faults.answer("GET .*/blobs/", status, DATA if status == 200 else b"", 1, **wait)
    assert read_all(registry.open_blob(APP, DIGEST)) == DATA
    # The others need not wait for it.
    assert registry.health._shared.limits().all_until == 0.0
    upstream.faults.answer("GET .*/blobs/", 429, b"", None, **wait)
    with pytest.raises(TooManyRequests):
        registry.open_blob(APP, DIGEST)
    assert len(upstream.requests("GET")) == 6


def test_a_limit_where_one_name_is_redirected_to_stops_nothing_else(
    upstream: FakeUpstream, make_upstream: MakeUpstream, registry: Upstream
) -> None:
    """Whoever the host belongs to, it can look like a registry, and would stop all of this one's for a day."""
    other = make_upstream()
    other.faults.answer("/v2/", 429, b'{"errors":[]}', Retry_After="80000", ratelimit_remaining="0")
    upstream.faults.answer("/library/evil/", 307, Location=f"{other.url}/v2/library/evil/manifests/latest")
    evil = Repository.parse("library/evil")
    for ask in (registry.head_manifest, registry.get_manifest):
        with pytest.raises(TooManyRequests, match=r"docker\.io answered 429 for library/evil:latest"):
            ask(evil, LATEST)
    assert registry.head_blob(APP, DIGEST) == len(DATA)


def test_a_limit_of_the_token_server_of_where_one_name_is_redirected_to_stops_nothing_else(
    upstream: FakeUpstream, make_upstream: MakeUpstream, registry: Upstream
) -> None:
    """Of the second question the token is fetched before the redirect."""
    other = make_upstream()
    other.faults.answer("/token", 429, b"", Retry_After="80000")
    other.faults.answer("/v2/", 401, WWW_Authenticate=f'Bearer realm="{other.url}/token",service="x"')
    upstream.faults.answer("/library/evil/", 307, Location=f"{other.url}/v2/library/evil/manifests/latest")
    for _ in range(2):
        with pytest.raises(UpstreamElsewhere, match="token server answered 429"):
            registry.get_manifest(Repository.parse("library/evil"), LATEST)
    assert registry.head_blob(APP, DIGEST) == len(DATA)


@pytest.mark.parametrize("year", ["0", "99999999999999999999", "9999"])
def test_a_date_that_cannot_be_is_no_time_to_wait(upstream: FakeUpstream, registry: Upstream, year: str) -> None:
    """Or a very long one: it is believed for a day."""
    upstream.faults.answer("/blobs/", 429, b"", Retry_After=f"Mon, 01 Jan {year} 00:00:00 GMT")
    with pytest.raises(TooManyRequests) as error:
        registry.head_blob(APP, DIGEST)
    assert (error.value.retry_after or 0) <= 86_400


@pytest.mark.parametrize("url", ["//[", "http://[x/", "http://a:b/?"])
def test_a_next_page_at_no_address_is_none(upstream: FakeUpstream, registry: Upstream, url: str) -> None:
    upstream.faults.answer("/tags/list", 200, b'{"tags": ["a"]}', Link=f'<{url}>; rel="next"')
    assert registry.list_tags(APP, None, None).last is None


def test_half_a_character_is_no_tag(upstream: FakeUpstream, registry: Upstream) -> None:
    upstream.faults.answer("/tags/list", 200, b'{"tags": ["a", "\\ud800", "b\\n", "c"]}')
    assert registry.list_tags(APP, None, None).names == ["a", "c"]


def test_the_reason_is_told_but_not_a_page_of_it(upstream: FakeUpstream, registry: Upstream) -> None:
    upstream.faults.answer("/blobs/", 500, b'{"errors":[{"message":"for a reason"}]}', times=1)
    with pytest.raises(UpstreamUnavailable, match="for a reason"):
        registry.open_blob(APP, DIGEST)
    for body in (b"x" * 10**6, b'{"message":"' + b"y" * 10**5 + b'"}', b'{"message":"a\nb"}', b"\xff\xfe"):
        registry = connect(upstream.url)
        upstream.faults.answer("/blobs/", 500, body, times=1)
        with pytest.raises(UpstreamUnavailable) as error:
            registry.open_blob(APP, DIGEST)
        assert len(error.value.message) < 500
        assert error.value.message.isprintable()


def test_kinds_of_no(upstream: FakeUpstream, registry: Upstream) -> None:
    for kind, ask in (
        (BlobUnknown, lambda: registry.head_blob(APP, ABSENT)),
        (ManifestUnknown, lambda: registry.head_manifest(APP, LATEST)),
        (ManifestUnknown, lambda: registry.get_manifest(APP, ABSENT)),
        (NameUnknown, lambda: registry.list_tags(Repository.parse("no/such"), None, None)),
    ):
        with pytest.raises(NotFound) as error:
            ask()
        assert type(error.value) is kind


def test_questions_that_upstream_finds_bad_are_no_outage(upstream: FakeUpstream, registry: Upstream) -> None:
    """Clients choose names; a registry that answers 400 to some of them is up, and must be asked about others."""
    upstream.faults.answer("library/odd/", 400)
    for _ in range(6):
        with pytest.raises(UpstreamError):
            registry.head_blob(Repository.parse("library/odd"), DIGEST)
    assert registry.head_blob(APP, DIGEST) == len(DATA)


@pytest.mark.parametrize("status", [500, 501, 503])
def test_a_registry_whose_lists_fail_is_not_down(upstream: FakeUpstream, registry: Upstream, status: int) -> None:
    upstream.faults.answer("/referrers/|/tags/list", status)
    for _ in range(6):
        with pytest.raises(UpstreamError):
            registry.list_tags(APP, None, None)
        with nullcontext() if status == 501 else pytest.raises(UpstreamUnavailable):
            assert registry.referrers(APP, DIGEST) is None
    assert registry.head_blob(APP, DIGEST) == len(DATA)


def test_a_question_that_upstream_does_not_know_is_no_outage(upstream: FakeUpstream, registry: Upstream) -> None:
    upstream.faults.answer("/manifests/", 501)
    for _ in range(6):
        with pytest.raises(UpstreamError) as error:
            registry.get_manifest(APP, LATEST)
        assert type(error.value) is UpstreamError
    assert registry.head_blob(APP, DIGEST) == len(DATA)


def test_an_outage_is_found_out_and_ends(upstream: FakeUpstream, registry: Upstream) -> None:
    upstream.faults.status = 503
    for _ in range(6):
        with pytest.raises(UpstreamUnavailable):
            registry.head_blob(APP, DIGEST)
    assert len(upstream.requests("HEAD")) < 6
    # A download that has begun insists.
    upstream.faults.status = None
    assert read_all(registry.open_blob(APP, DIGEST, is_retry=True)) == DATA
    assert registry.head_blob(APP, DIGEST) == len(DATA)


def test_silence_where_there_is_a_copy_is_short(upstream: FakeUpstream, registry: Upstream) -> None:
    upstream.faults.hold_before = "HEAD"
    with pytest.raises(UpstreamTimeout):
        registry.head_manifest(APP, LATEST, 0.05)
    upstream.faults.release()


def test_a_manifest(upstream: FakeUpstream, registry: Upstream) -> None:
    image = make_image(upstream, tag="latest")
    head = registry.head_manifest(APP, LATEST)
    assert (str(head.digest), head.media_type, head.size) == (image.digest, image.media_type, len(image.manifest))
    body = registry.get_manifest(APP, Digest.parse(image.digest))
    assert (body.data, body.media_type) == (image.manifest, image.media_type)
    accept = upstream.requests(path="/manifests/")[0].headers["Accept"]
    assert accept.count("vnd.docker") == accept.count("vnd.oci") == 2


def test_manifests_up_to_four_mebibytes(upstream: FakeUpstream, registry: Upstream) -> None:
    for size in (MAX_MANIFEST_SIZE, MAX_MANIFEST_SIZE + 1):
        upstream.add_manifest(b" " * size, OCI_MANIFEST, tag="big")
        if size == MAX_MANIFEST_SIZE:
            assert len(registry.get_manifest(APP, Tag.parse("big")).data) == size
        else:
            with pytest.raises(UpstreamError, match="4 MiB"):
                registry.get_manifest(APP, Tag.parse("big"))


@pytest.mark.parametrize("encoded", [False, True])
def test_a_manifest_that_breaks_off_is_an_error(upstream: FakeUpstream, registry: Upstream, encoded: bool) -> None:
    digest = upstream.add_manifest(random_bytes(10_000, seed=1), tag="latest")
    upstream.faults.of(digest).cut_after, upstream.faults.of(digest).gzip = [100], encoded
    with pytest.raises(UpstreamError):
        registry.get_manifest(APP, LATEST)


def test_an_encoded_manifest_is_unpacked_within_bounds(upstream: FakeUpstream, registry: Upstream) -> None:
    digest = upstream.add_manifest(b"{}" + b" " * 1000, tag="latest")
    upstream.faults.of(digest).gzip = True
    assert registry.get_manifest(APP, LATEST).data == b"{}" + b" " * 1000
    bomb = upstream.add_manifest(b" " * (50 * 1024 * 1024), tag="bomb")
    upstream.faults.of(bomb).gzip = True
    with pytest.raises(UpstreamError, match="4 MiB"):
        registry.get_manifest(APP, Tag.parse("bomb"))


def test_tags_in_pages(upstream: FakeUpstream, registry: Upstream) -> None:
    digest = upstream.add_manifest(b"{}")
    for number in range(5):
        upstream.tag(str(APP), f"t{number}", digest)
    page = registry.list_tags(APP, 2, None)
    assert (page.names, page.last) == (["t0", "t1"], "t1")
    page = registry.list_tags(APP, 10, "t1")
    assert (page.names, page.last) == (["t2", "t3", "t4"], None)


def test_referrers_in_pages(upstream: FakeUpstream, registry: Upstream) -> None:
    image = make_image(upstream, tag="latest")
    make_artifact(upstream, image.digest)
    upstream.faults.page_size = 1
    found = registry.referrers(APP, Digest.parse(image.digest))
    assert found is not None
    assert len(found) == 1
    upstream.faults.no_referrers = True
    assert registry.referrers(APP, Digest.parse(image.digest)) is None


def test_pages_of_referrers_without_an_end(
    upstream: FakeUpstream, registry: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/v2/{APP}/referrers/{DIGEST}"
    page = b'{"manifests": [{}]}'
    upstream.faults.answer("/referrers/", 200, page, times=1, Link=f'<{path}?last=a>; rel="next"')
    upstream.faults.answer("/referrers/", 200, page, times=1, Link=f'<{path}?last=a>; rel="next"')
    # A link to the page it stands on leads nowhere new.
    assert registry.referrers(APP, DIGEST) == [{}, {}]

    upstream.faults.answer("/referrers/", 200, page, Link=f'<{path}?last=a>; rel="next"')
    monkeypatch.setattr(client, "DOCUMENT_TIMEOUT_SECONDS", 0.0)
    with pytest.raises(UpstreamTimeout, match="took more than 0 s"):
        registry.referrers(APP, DIGEST)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"<html>", b'{"tags": 5}', b'{"tags": [1, "a", null]}'])
def test_lists_that_are_none(upstream: FakeUpstream, registry: Upstream, body: bytes) -> None:
    upstream.faults.answer("tags/list", 200, body)
    try:
        page = registry.list_tags(APP, None, None)
    except UpstreamError:
        return
    assert page.names in ([], ["a"])


@pytest.mark.parametrize("no_length", [False, True])
def test_a_read_that_nobody_wants_any_more_waits_no_longer(
    upstream: FakeUpstream, registry: Upstream, no_length: bool
) -> None:
    upstream.faults.hold_at, upstream.faults.no_length = 50_000, no_length
    reads = Reads()

    def read() -> bytes:
        unwanted_reads.CURRENT.set(reads)
        with closing(registry.open_blob(APP, DIGEST)) as body:
            return b"".join(body)

    with ThreadPoolExecutor() as pool:
        reading = pool.submit(copy_context().run, read)
        upstream.wait_until(lambda: upstream.exchanges and upstream.exchanges[-1].held)
        reads.end()
        with pytest.raises(UpstreamUnavailable):
            reading.result(SECONDS)
    upstream.wait_until(lambda: upstream.in_flight(NAME) == 0)
    # Nor does one that begins afterwards, in a thread that works for it.
    over = Context()
    over.run(unwanted_reads.CURRENT.set, reads)
    with pytest.raises(UpstreamUnavailable):
        over.run(read)


def test_a_body_that_is_closed_early_leaves_no_connection(upstream: FakeUpstream, registry: Upstream) -> None:
    upstream.faults.hold_at = 50_000
    body = registry.open_blob(APP, DIGEST)
    assert next(iter(body))
    body.close()
    upstream.wait_until(lambda: upstream.exchanges[0].done)
    assert upstream.in_flight(NAME) == 0
