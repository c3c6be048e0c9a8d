"""A blob cut anywhere, any number of times, is resumed; its clients notice nothing but time."""

from __future__ import annotations

import pytest

from tests.harness.cdn import FakeCdn
from tests.harness.content import APP
from tests.harness.images import KiB, MiB, make_image, random_bytes
from tests.harness.story import Story
from tests.harness.telling import code, message, told, within

SIZE = 4 * MiB


def ranges(story: Story, digest: str) -> list[str | None]:
    """The Range of every request for the blob, in order."""
    return [each.headers["Range"] for each in story.upstream.asked("GET", digest)]


@pytest.mark.parametrize("reset", [False, True])
def test_three_clients_of_a_blob_that_is_cut_three_times_see_one_blob(story: Story, reset: bool) -> None:
    blob = story.upstream.add_blob(random_bytes(SIZE, f"three cuts {reset}"))
    story.upstream.faults.cut_after, story.upstream.faults.reset = [1 * MiB, 700_001, 1], reset
    story.upstream.faults.hold_before = "GET .*/blobs/"
    pulls = [story.start_blob(blob) for _ in range(3)]
    story.upstream.wait_until(lambda: story.upstream.gets(blob) == 1)
    story.upstream.faults.gate.set()

    results = [pull.finish() for pull in pulls]

    assert [(each.digest, each.complete, each.status) for each in results] == [(blob, True, 200)] * 3
    assert story.upstream.gets(blob) == 4
    assert story.upstream.peak_in_flight(blob) == 1
    # A reset may take along what was on the wire.
    assert SIZE <= story.upstream.bytes_sent(blob) <= SIZE * (1.6 if reset else 1.0)
    assert ranges(story, blob)[0] is None
    assert all(each and each.startswith("bytes=") for each in ranges(story, blob)[1:])


def test_an_address_that_expired_meanwhile_is_asked_for_again_at_the_registry(story: Story, cdn: FakeCdn) -> None:
    blob = story.upstream.add_blob(random_bytes(SIZE, "expired"))
    story.upstream.faults.redirect_blobs_to, cdn.one_use = cdn, True
    story.upstream.faults.hold_at, story.upstream.faults.cut_after = 1 * MiB, [1 * MiB]
    pull = story.start_blob(blob)
    pull.wait_for(1 * MiB - 64 * KiB)
    cdn.expire()
    story.upstream.faults.gate.set()

    assert (pull.finish().digest, pull.finish().complete) == (blob, True)
    assert [each.status for each in cdn.exchanges] == [200, 206]
    assert story.upstream.gets(blob) == 2
    assert cdn.bytes_sent(blob) == SIZE


def test_a_5xx_before_the_first_byte_is_asked_again(story: Story) -> None:
    blob = story.upstream.add_blob(random_bytes(SIZE, "503"))
    story.upstream.faults.answer("GET .*/blobs/", 503, times=1)
    story.upstream.faults.answer("GET .*/blobs/", 500, times=1)
    story.upstream.faults.answer("GET .*/blobs/", 502, times=1)
    result = story.start_blob(blob).finish()
    assert (result.status, result.digest) == (200, blob)
    assert [each.status for each in story.upstream.exchanges] == [503, 500, 502, 200]
    # The breaker that those three would have opened was closed by the answer.
    assert story.puller.head(f"/v2/{story.app}/blobs/{'sha256:' + '0' * 64}").status == 404


def test_a_stall_is_given_up_and_resumed(brisk: Story) -> None:
    blob = brisk.upstream.add_blob(random_bytes(SIZE, "stall"))
    brisk.upstream.faults.hold_at = 1 * MiB
    with within(20):
        pull = brisk.start_blob(blob)
        brisk.upstream.hold_no_more()
        assert (pull.finish().digest, pull.finish().complete) == (blob, True)
    assert ranges(brisk, blob) == [None, f"bytes={1 * MiB}-"]
    assert brisk.upstream.bytes_sent(blob) == SIZE
    assert brisk.upstream.peak_in_flight(blob) == 1


def test_cuts_without_a_byte_end_in_words(story: Story) -> None:
    blob = story.upstream.add_blob(random_bytes(SIZE, "nothing at all"))
    story.upstream.faults.answer("GET .*/blobs/", 503, b'{"errors":[{"code":"X","message":"back soon"}]}')
    with within(15):
        answer = story.blob(blob)
    assert code(answer) == (503, "UNAVAILABLE")
    assert f"answered 503 (back soon) for the blob {blob}" in message(answer)
    assert 3 <= story.upstream.gets(blob) <= 6


def test_a_blob_that_never_goes_on_cuts_its_client_and_is_gone_on_with_later(story: Story) -> None:
    blob = story.upstream.add_blob(random_bytes(SIZE, "cut for good"))
    story.upstream.faults.cut_after = [1 * MiB, *[0] * 8]
    with within(20):
        result = story.start_blob(blob).finish()
    assert result.status == 200
    assert not result.complete
    assert result.size <= 1 * MiB

    story.upstream.faults.cut_after = None
    again = story.start_blob(blob).finish()
    assert (again.digest, again.complete) == (blob, True)


def test_a_manifest_that_is_cut_is_never_served_in_part(story: Story) -> None:
    image = make_image(story.upstream, tag="1", seed=41)
    story.upstream.faults.of(image.digest).cut_after = [100] * 4
    answer = story.manifest("1")
    assert code(answer) == (503, "UNAVAILABLE")
    assert image.digest in message(answer)
    story.upstream.reset_faults()
    assert story.manifest("1").body == image.manifest


def test_an_upstream_that_restarts_between_two_pulls_is_not_noticed(story: Story) -> None:
    image = make_image(story.upstream, tag="1", seed=42)
    for blob in image.blobs:
        assert story.blob(blob).status == 200
    story.manifest("1")
    story.upstream.stop()
    story.upstream.start()
    assert told(story.manifest("1")) == (200, "revalidated", image.digest)
    assert told(story.puller.head(f"/v2/{story.name}/{APP}/manifests/1"))[:2] == (200, "revalidated")
