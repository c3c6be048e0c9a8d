"""What HEADs are worth at an upstream, and what a GET has said instead."""

from __future__ import annotations

import pytest

from registry_cache.errors import BlobUnknown, Denied, UpstreamError, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.upstream.client import Upstream
from registry_cache.upstream.heads import TAG_SECONDS, TROUBLED_SECONDS, USELESS_SECONDS, HeadMemory
from tests.harness.content import OCI_MANIFEST
from tests.harness.pull_rig import Clock
from tests.harness.store_rig import APP, LATEST, OTHER
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import connect

DATA = b"layer" * 100
DIGEST = Digest.of(DATA)
NAME = str(DIGEST)
EMPTY_INDEX = b'{"schemaVersion": 2, "manifests": []}'


@pytest.fixture
def registry(upstream: FakeUpstream) -> Upstream:
    upstream.add_blob(DATA)
    upstream.add_blob(DATA, str(OTHER))
    return connect(upstream.url)


@pytest.mark.parametrize("status", [400, 401, 403, 405, 406, 415, 500, 501])
def test_a_blob_whose_head_is_refused_is_asked_for_by_one_byte_and_then_at_once(
    upstream: FakeUpstream, registry: Upstream, status: int
) -> None:
    upstream.faults.answer("HEAD .*/blobs/", status)
    for _ in range(3):
        assert registry.head_blob(APP, DIGEST) == registry.head_blob(OTHER, DIGEST) == len(DATA)
    assert len(upstream.requests("HEAD")) == 1
    assert {each.headers["Range"] for each in upstream.requests("GET", "/blobs/")} == {"bytes=0-0"}
    with pytest.raises(BlobUnknown):
        registry.head_blob(APP, Digest.of(b"absent"))


@pytest.mark.parametrize("status", [408, 502, 503, 504, None])
def test_a_blob_whose_head_fails_is_asked_for_by_one_byte(
    upstream: FakeUpstream, registry: Upstream, status: int | None
) -> None:
    if status is None:
        upstream.faults.drop = "HEAD .*/blobs/"
    else:
        upstream.faults.answer("HEAD .*/blobs/", status)
    assert [registry.head_blob(APP, DIGEST) for _ in range(3)] == [len(DATA)] * 3
    assert registry.health.outage() is None
    assert [each.method for each in upstream.exchanges] == ["HEAD", *["GET"] * 3]


def test_an_outage_costs_one_more_request_and_is_told_as_the_head_told_it(
    upstream: FakeUpstream, registry: Upstream
) -> None:
    upstream.faults.answer("HEAD .*/blobs/", 503, Retry_After="7")
    upstream.faults.answer("GET .*/blobs/", 500)
    with pytest.raises(UpstreamUnavailable, match="503"):
        registry.head_blob(APP, DIGEST)
    assert len(upstream.exchanges) == 2


def test_a_404_of_another_form_is_no_answer_and_one_of_the_registrys_form_is(
    upstream: FakeUpstream, registry: Upstream
) -> None:
    with pytest.raises(BlobUnknown):
        registry.head_blob(APP, Digest.of(b"absent"))
    assert upstream.requests("GET") == []
    upstream.faults.answer("HEAD .*/blobs/", 404, b"404 page not found", Content_Type="text/plain")
    assert registry.head_blob(APP, DIGEST) == len(DATA)


@pytest.mark.parametrize(("status", "kind"), [(403, Denied), (500, UpstreamUnavailable), (400, UpstreamError)])
def test_where_a_get_is_refused_too_nothing_is_learned(
    upstream: FakeUpstream, registry: Upstream, status: int, kind: type[Exception]
) -> None:
    upstream.faults.answer(f"{APP}/blobs/", status)
    with pytest.raises(kind):
        registry.head_blob(APP, DIGEST)
    assert registry.head_blob(OTHER, DIGEST) == len(DATA)
    assert upstream.heads(NAME) == 2


def test_a_login_page_proves_no_access(upstream: FakeUpstream, registry: Upstream) -> None:
    upstream.faults.answer("/blobs/", 200, b"<html>Please log in</html>", Content_Type="text/html")
    with pytest.raises(UpstreamError, match="web page"):
        registry.head_blob(APP, DIGEST)


@pytest.mark.parametrize("content", [b"", DATA])
def test_a_length_of_nothing_is_believed_of_nothing_alone(upstream: FakeUpstream, content: bytes) -> None:
    digest = Digest.parse(upstream.add_blob(content))
    upstream.faults.answer("HEAD .*/blobs/", 200)
    registry = connect(upstream.url)
    assert registry.head_blob(APP, digest) == (None if content else 0)
    assert registry.blob_size(APP, digest) == len(content)


def test_an_etag_that_is_the_same_is_the_same_manifest(upstream: FakeUpstream) -> None:
    registry, clock = connect(upstream.url), Clock()
    registry.heads._clock = clock
    digest = Digest.of(EMPTY_INDEX)
    upstream.faults.answer("GET .*/manifests/", 200, EMPTY_INDEX, ETag='"v1"')
    upstream.faults.answer("HEAD .*/manifests/", 200, EMPTY_INDEX, times=3, ETag='W/"v1-gzip"')
    assert registry.head_manifest(APP, LATEST).digest is None
    registry.get_manifest(APP, LATEST)
    clock.now += TAG_SECONDS
    assert registry.head_manifest(APP, LATEST, has_copy=True).digest == digest
    assert registry.head_manifest(APP, LATEST).digest is None
    upstream.faults.answer("HEAD .*/manifests/", 200, EMPTY_INDEX, ETag='"v2"')
    assert registry.head_manifest(APP, LATEST, has_copy=True).digest is None


def test_another_etag_is_a_move_at_once_where_etags_tell_moves() -> None:
    memory = HeadMemory(clock=Clock())
    memory.record_etag(APP, LATEST, '"v1"')
    memory.record_tag(APP, LATEST, DIGEST, '"v1"')
    assert memory.digest_of(APP, LATEST, '"v1"') == DIGEST
    assert memory.digest_of(APP, LATEST, '"v2"') is None
    # The GET that follows brings the same: one machine of several has its own ETags, and each would cost a GET.
    memory.record_etag(APP, LATEST, '"v2"')
    memory.record_tag(APP, LATEST, DIGEST, '"v2"')
    assert memory.digest_of(APP, LATEST, '"v1"') == DIGEST


def test_etags_of_heads_that_no_get_has_tell_nothing() -> None:
    memory = HeadMemory(clock=Clock())
    memory.record_etag(APP, LATEST, '"h1"')
    memory.record_tag(APP, LATEST, DIGEST, '"g1"')
    assert memory.digest_of(APP, LATEST, '"h2"') == DIGEST


def test_what_is_no_manifest_says_nothing_of_a_tag(upstream: FakeUpstream) -> None:
    registry = connect(upstream.url)
    for body in (b"", b"OK", b'{"status": "maintenance"}'):
        upstream.faults.answer("/manifests/", 200, body, times=2, Content_Type="application/json")
        registry.get_manifest(APP, LATEST)
        assert registry.head_manifest(APP, LATEST, has_copy=True).digest is None


def test_the_length_of_what_is_compressed_is_not_the_size(upstream: FakeUpstream) -> None:
    registry = connect(upstream.url)
    upstream.faults.answer("HEAD ", 200, b"short", Content_Encoding="gzip")
    assert (registry.head_manifest(APP, LATEST).size, registry.head_blob(APP, DIGEST)) == (None, None)
    upstream.reset_faults()
    upstream.faults.answer("HEAD ", 200, EMPTY_INDEX, Content_Encoding="identity")
    size = len(EMPTY_INDEX)
    assert (registry.head_manifest(APP, LATEST).size, registry.head_blob(APP, DIGEST)) == (size, size)


def test_the_digest_of_nothing_names_no_manifest(upstream: FakeUpstream) -> None:
    upstream.faults.answer("HEAD .*/manifests/", 200, Docker_Content_Digest=str(Digest.of(b"")))
    assert connect(upstream.url).head_manifest(APP, LATEST).digest is None


def test_how_long_it_is_remembered() -> None:
    clock = Clock()
    memory = HeadMemory(clock=clock)
    memory.record_get("blobs", "one")
    assert not memory.are_useless("blobs")
    memory.record_refusal("blobs", "one")
    memory.record_get("blobs", "another")
    assert not memory.are_useless("blobs")
    assert memory.was_refused("blobs", "one")
    memory.record_get("blobs", "one")
    assert (memory.are_useless("blobs"), memory.are_useless("manifests")) == (True, False)
    memory.record_tag(APP, LATEST, DIGEST, "")
    clock.now += TAG_SECONDS - 1
    assert memory.digest_of(APP, LATEST, "") == DIGEST
    assert memory.digest_of(OTHER, LATEST, "") is None
    clock.now += 1
    assert memory.digest_of(APP, LATEST, "") is None
    clock.now += USELESS_SECONDS
    assert not memory.are_useless("blobs")
    memory.record_refusal("blobs", "one", is_trouble=True)
    memory.record_get("blobs", "one")
    clock.now += TROUBLED_SECONDS - 1
    assert memory.are_useless("blobs")
    clock.now += 1
    assert not memory.are_useless("blobs")


@pytest.mark.parametrize(
    ("length", "etag", "told"),
    [
        (34, "", 34),
        (33, "", None),
        (0, "", None),
        (4 * 1024 * 1024 + 1, "", None),
        (500, '"v1"', 500),
        (500, 'W/"v1"', 500),
        (500, '"v1-gzip"', None),
    ],
)
def test_a_length_that_no_manifest_can_have_is_none(
    upstream: FakeUpstream, length: int, etag: str, told: int | None
) -> None:
    upstream.faults.answer("HEAD .*/manifests/", 200, bytes(length), ETag=etag, Content_Type=OCI_MANIFEST)
    assert connect(upstream.url).head_manifest(APP, LATEST).size == told


def test_after_a_length_that_was_wrong_none_is_believed_for_a_while() -> None:
    clock = Clock()
    memory = HeadMemory(clock=clock)
    memory.record_length(500, 500)
    assert memory.plausible_length(500, "") == 500
    memory.record_length(300, 500)
    assert memory.plausible_length(500, "") is None
    clock.now += USELESS_SECONDS
    assert memory.plausible_length(500, "") == 500
