"""What an upstream redirects to inside our network is no client's, unless its digest proves it."""

from __future__ import annotations

import pytest

from tests.harness.cdn import FakeCdn
from tests.harness.images import random_bytes
from tests.harness.story import Story

KiB = 1024


@pytest.mark.parametrize("size", [61, 100 * KiB, 500 * KiB])
def test_a_blob_from_inside_is_told_nothing_of_before_it_is_proven(story: Story, cdn: FakeCdn, size: int) -> None:
    story.upstream.faults.redirect_blobs_to = cdn
    blobs = [story.upstream.add_blob(random_bytes(size, f"{each} {size}")) for each in range(3)]
    story.upstream.faults.corrupt_at = 7
    wrong = story.blob(blobs[0])
    story.upstream.reset_faults()
    story.upstream.faults.redirect_blobs_to, cdn.status = cdn, 404
    refused = story.blob(blobs[1])
    documents = [each.json()["errors"][0] for each in (wrong, refused)]
    assert [wrong.status, refused.status] == [503, 503]
    words = [each["message"].replace(blob, "") for each, blob in zip(documents, blobs, strict=False)]
    assert words[0] == words[1]
    assert "detail" not in documents[0] or documents[0]["detail"] is None
    cdn.status = 200
    assert story.start_blob(blobs[2]).finish().digest == blobs[2]
