"""Nothing that an upstream says is believed before its bytes have been hashed; what cannot be is told in words."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest

from registry_cache.pull.wrong_bytes import FIRST_PAUSE_SECONDS
from tests.harness.cdn import FakeCdn
from tests.harness.content import OCI_MANIFEST, digest_of
from tests.harness.images import KiB, MiB, make_image, random_bytes
from tests.harness.story import Story
from tests.harness.telling import code, message, told
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

# What is shown only once it is verified, so that its error has a status; and what is streamed.
SMALL, LARGE = 20 * KiB, 1 * MiB


def stored(story: Story, digest: str) -> bool:
    return any(path.name == digest.partition(":")[2] for path in story.cache.root.glob("blobs/*/*/*"))


def wrong(upstream: FakeUpstream) -> None:
    upstream.faults.corrupt_at = 7


def too_short(upstream: FakeUpstream) -> None:
    upstream.faults.length_lie = -100


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("lie", [wrong, too_short])
def test_what_is_not_the_blob_is_fetched_twice_and_never_served_whole_or_kept(
    story: Story, lie: Callable[[FakeUpstream], None], size: int
) -> None:
    blob = story.upstream.add_blob(random_bytes(size, f"{lie.__name__} {size}"))
    lie(story.upstream)
    pull = story.start_blob(blob)
    result = pull.finish()
    assert result.digest != blob
    if size == SMALL:
        assert (result.status, result.complete) == (502, True)
    else:
        assert (result.status, result.complete) == (200, False)
    eventually(lambda: "download failed" in story.log())
    assert not stored(story, blob)

    # Whoever comes next does not have it downloaded anew, from whichever worker.
    for _ in range(4):
        rested = story.blob(blob)
        assert (rested.status, "it is asked again in" in message(rested)) == (502, True)
        assert 0 < int(rested.headers["Retry-After"]) <= FIRST_PAUSE_SECONDS
    assert story.upstream.gets(blob) == 2


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_blob_that_upstream_compresses_is_decoded_before_anybody_sees_it(story: Story, size: int) -> None:
    data = random_bytes(size, f"compressed {size}")
    blob = story.upstream.add_blob(data)
    story.upstream.faults.answer("GET .*/blobs/", 200, gzip.compress(data), Content_Encoding="gzip")
    assert story.blob(blob).body == data
    assert story.blob(blob).headers["Content-Length"] == str(size)
    assert story.upstream.gets(blob) == 2


def test_a_blob_that_is_only_labelled_as_compressed_is_as_it_was_sent(story: Story) -> None:
    data = gzip.compress(random_bytes(LARGE, "a layer"))
    blob = story.upstream.add_blob(data)
    story.upstream.faults.answer("GET .*/blobs/", 200, data, Content_Encoding="gzip")
    assert story.blob(blob).body == data
    assert story.upstream.gets(blob) == 1


def test_a_digest_that_rests_for_one_repository_is_served_to_another(story: Story) -> None:
    data = random_bytes(SMALL, "of two")
    blob = story.upstream.add_blob(data)
    story.upstream.add_blob(data, "library/other")
    wrong(story.upstream)
    assert story.blob(blob).status == 502
    story.upstream.reset_faults()
    assert story.blob(blob).status == 502
    assert story.puller.blob(blob, story.app.replace("library/app", "library/other")).body == data
    # What is here is not asked for.
    assert story.blob(blob).body == data


@pytest.mark.parametrize("by_tag", [True, False])
def test_a_manifest_that_was_wrong_twice_rests(story: Story, by_tag: bool) -> None:
    image = make_image(story.upstream, tag="1", seed=81)
    reference = "1" if by_tag else image.digest
    story.upstream.faults.answer("GET .*/manifests/", 200, b'{"schemaVersion":2}', Content_Type=OCI_MANIFEST)
    assert [story.manifest(reference).status for _ in range(5)] == [502] * 5
    assert story.upstream.counted_pulls == 2


def test_corruption_is_reported_with_both_digests(story: Story) -> None:
    data = random_bytes(SMALL, "both")
    blob = story.upstream.add_blob(data)
    wrong(story.upstream)
    answer = story.blob(blob)
    found = digest_of(data[:7] + bytes([data[7] ^ 0xFF]) + data[8:])
    assert code(answer) == (502, "UNKNOWN")
    assert answer.json()["errors"][0]["detail"] == {"wanted": blob, "found": found}
    assert message(answer) == f"{story.name} sent bytes that are not the blob: asked for {blob}, got {found}"
    assert story.log().count("upstream sent wrong bytes") == 2


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_length_that_promises_too_much_costs_its_clients_one_try(story: Story, size: int) -> None:
    blob = story.upstream.add_blob(random_bytes(size, f"too much {size}"))
    story.upstream.faults.length_lie = 100
    first = story.start_blob(blob).finish()
    assert not first.complete or (first.status, first.digest) == (200, blob)
    # The bytes were right all the same.
    again = story.start_blob(blob).finish()
    assert (again.status, again.digest, again.complete, again.headers["X-Cache"]) == (200, blob, True, "hit")
    assert story.upstream.gets(blob) <= 2


@pytest.mark.parametrize(("fault", "told_size"), [("no_head_length", str(SMALL)), ("no_length", str(SMALL))])
def test_a_head_of_a_blob_tells_its_size_or_none_and_never_another(
    story: Story, fault: str, told_size: str | None
) -> None:
    blob = story.upstream.add_blob(random_bytes(SMALL, f"head {fault}"))
    setattr(story.upstream.faults, fault, True)
    for _ in range(2):
        answer = story.puller.head(f"/v2/{story.app}/blobs/{blob}")
        assert (answer.status, answer.headers["X-Cache"]) == (200, "miss")
        assert answer.headers.get("Content-Length") == told_size


@pytest.mark.parametrize("by_tag", [True, False])
def test_a_manifest_over_four_mebibytes_is_refused_in_words(story: Story, by_tag: bool) -> None:
    document = b'{"schemaVersion": 2, "x": "' + b"x" * 5 * MiB + b'"}'
    digest = story.upstream.add_manifest(document, OCI_MANIFEST, tag="big")
    answer = story.manifest("big" if by_tag else digest)
    assert answer.status == 502
    assert "is over 4 MiB" in message(answer)
    assert not stored(story, digest)
    small = make_image(story.upstream, tag="small", seed=51)
    assert told(story.manifest("small")) == (200, "miss", small.digest)


def test_a_tag_whose_bytes_change_with_every_question_is_never_a_wrong_body(story: Story) -> None:
    story.upstream.faults.no_digest_header = True
    images = [make_image(story.upstream, tag=None, seed=60 + each) for each in range(4)]
    for number, image in enumerate(images):
        story.upstream.tag("library/app", "moving", image.digest)
        following = images[(number + 1) % 4].digest
        story.upstream.faults.move_tag_after_head["moving"] = following
        answer = story.manifest("moving")
        assert answer.status == 200
        assert digest_of(answer.body) == answer.headers["Docker-Content-Digest"]


@pytest.mark.parametrize(
    ("claim", "status"), [("sha256:" + "0" * 64, 502), ("sha256:../../etc/passwd", 200), ("md5:abc", 200), ("", 200)]
)
def test_a_digest_that_a_head_claims_is_only_a_claim(story: Story, claim: str, status: int) -> None:
    image = make_image(story.upstream, tag="1", seed=71)
    story.upstream.faults.answer(
        "HEAD .*/manifests/1", 200, b"{}", Docker_Content_Digest=claim, Content_Type=OCI_MANIFEST
    )
    story.upstream.faults.answer(f"GET .*/manifests/{claim}$", 200, image.manifest, Content_Type=OCI_MANIFEST)
    answer = story.manifest("1")
    assert answer.status == status
    if status == 200:
        assert (answer.body, answer.headers["Docker-Content-Digest"]) == (image.manifest, image.digest)
    else:
        assert claim in message(answer)
        assert image.digest in message(answer)


@pytest.mark.parametrize("says", [300, 2])
def test_tokens_that_live_two_seconds_or_are_revoked_are_renewed(story: Story, says: int) -> None:
    image = make_image(story.upstream, tag="1", seed=73)
    # Good for longer than they say: one that expires on the way to a slow registry is refused, and rightly.
    story.upstream.faults.require_token, story.upstream.faults.token_says = True, says
    assert story.manifest("1").status == 200
    for blob in image.blobs:
        story.upstream.tokens.revoke()
        assert story.start_blob(blob).finish().digest == blob
    renewed = len(story.upstream.token_requests) - 1
    # Two seconds may be over between any two requests.
    assert renewed == len(image.blobs) if says == 300 else renewed >= len(image.blobs)
    assert [each.status for each in story.upstream.exchanges].count(401) <= 1 + len(image.blobs)


def test_a_content_server_with_a_challenge_of_its_own_is_told_nothing(story: Story, cdn: FakeCdn) -> None:
    blob = story.upstream.add_blob(random_bytes(SMALL, "challenge"))
    story.upstream.faults.require_token, story.upstream.faults.redirect_blobs_to = True, cdn
    cdn.challenge = 'Bearer realm="http://127.0.0.2:9/token",service="x", Basic realm="cdn"'
    answer = story.blob(blob)
    assert code(answer) == (503, "UNAVAILABLE")
    assert "the content server" in message(answer)
    assert "WWW-Authenticate" not in answer.headers
    cdn.challenge = None
    assert story.start_blob(blob).finish().digest == blob
