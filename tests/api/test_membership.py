"""Cached is not authorised: what one repository brought is another's only where upstream says so."""

import pytest

from tests.harness.cdn import FakeCdn
from tests.harness.content import digest_of
from tests.harness.images import MiB, make_image, random_bytes
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

OURS, THEIRS = "team/ours", "team/theirs"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_blob_that_both_contain_is_asked_for_and_not_fetched_again(
    upstream: FakeUpstream, puller: Puller, method: str
) -> None:
    data = random_bytes(1 * MiB, seed="both")
    blob = upstream.add_blob(data, OURS)
    upstream.add_blob(data, THEIRS)
    puller.blob(blob, OURS)

    answer = puller.request(method, f"/v2/{THEIRS}/blobs/{blob}")

    assert (answer.status, answer.headers["X-Cache"]) == (200, "hit")
    assert (upstream.gets(blob), upstream.heads(blob)) == (1, 1)
    assert digest_of(puller.blob(blob, THEIRS).body) == blob
    assert (upstream.gets(blob), upstream.heads(blob)) == (1, 1)  # now it is known


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_blob_of_another_repository_is_unknown_though_it_is_on_the_disk(
    upstream: FakeUpstream, puller: Puller, method: str
) -> None:
    blob = upstream.add_blob(random_bytes(1 * MiB, seed="not theirs"), OURS)
    puller.blob(blob, OURS)
    for _ in range(2):
        assert puller.request(method, f"/v2/{THEIRS}/blobs/{blob}").status == 404
    assert puller.blob(blob, THEIRS).json()["errors"][0]["code"] == "BLOB_UNKNOWN"


@pytest.mark.parametrize("refusing", ["registry", "content server"])
def test_an_upstream_that_takes_no_head_of_a_blob_is_asked_by_a_get(
    upstream: FakeUpstream, puller: Puller, cdn: FakeCdn, refusing: str
) -> None:
    data = random_bytes(1 * MiB, seed=f"no HEAD {refusing}")
    blob = upstream.add_blob(data, OURS)
    upstream.add_blob(data, THEIRS)
    upstream.faults.no_head = refusing == "registry"
    upstream.faults.redirect_blobs_to, cdn.get_only = None if refusing == "registry" else cdn, True
    puller.blob(blob, OURS)

    answer = puller.blob(blob, THEIRS)
    elsewhere = puller.blob(blob, "team/others")

    assert (answer.status, answer.headers["X-Cache"], digest_of(answer.body)) == (200, "hit", blob)
    assert elsewhere.status == 404


def test_a_blob_that_upstream_cannot_be_asked_about_is_not_served(upstream: FakeUpstream, puller: Puller) -> None:
    blob = upstream.add_blob(random_bytes(1 * MiB, seed="cannot ask"), OURS)
    puller.blob(blob, OURS)
    upstream.stop()
    assert puller.blob(blob, THEIRS).status in (503, 504)
    assert puller.blob(blob, OURS).headers["X-Cache"] == "hit"


def test_a_manifest_by_digest_is_checked_the_same(upstream: FakeUpstream, puller: Puller) -> None:
    image = make_image(upstream, OURS, "1")
    puller.manifest("1", OURS)
    for method in ("GET", "HEAD"):
        assert puller.request(method, f"/v2/{THEIRS}/manifests/{image.digest}").status == 404

    make_image(upstream, THEIRS, "1")
    upstream.forget()
    answer = puller.manifest(image.digest, THEIRS)
    assert (answer.status, answer.body) == (200, image.manifest)
    assert (upstream.heads(image.digest), upstream.gets(image.digest)) == (1, 0)


def test_a_manifest_that_two_tags_share_across_repositories_is_pulled_once(
    upstream: FakeUpstream, puller: Puller
) -> None:
    image = make_image(upstream, OURS, "1")
    make_image(upstream, THEIRS, "stable")
    assert puller.manifest("1", OURS).body == puller.manifest("stable", THEIRS).body == image.manifest
    assert upstream.counted_pulls == 1


def test_a_manifest_is_not_a_blob_of_the_repository(upstream: FakeUpstream, puller: Puller) -> None:
    image = make_image(upstream, OURS, "1")
    puller.manifest("1", OURS)
    assert puller.blob(image.digest, OURS).status == 404


def test_an_evicted_blob_is_simply_fetched_again(upstream: FakeUpstream, cache: CacheServer, puller: Puller) -> None:
    blob = upstream.add_blob(random_bytes(1 * MiB, seed="evicted"), OURS)
    puller.blob(blob, OURS)
    for path in cache.root.glob(f"**/{blob.partition(':')[2]}"):
        path.unlink()
    eventually(lambda: not [*cache.root.glob(f"**/{blob.partition(':')[2]}")])
    assert puller.blob(blob, OURS).headers["X-Cache"] == "miss"
    assert upstream.gets(blob) == 2
