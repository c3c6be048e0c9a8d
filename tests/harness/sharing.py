"""What the tests of caches that share a bucket have in common."""

from collections.abc import Mapping
from typing import Any

from registry_cache.store.layout import Layout
from registry_cache.store.outbox import Outbox
from tests.harness.images import Image
from tests.harness.pullers import Answer, Puller
from tests.harness.server import CacheServer
from tests.harness.waiting import eventually


def sharing(settings: Mapping[str, str], **storage: Any) -> dict[str, Any]:
    """The configuration of a cache with this `storage.s3`."""
    return {"storage": {"s3": dict(settings), **storage}}


def outcome(answer: Answer) -> str:
    return str(answer.headers["X-Cache"])


def pull_image(puller: Puller, image: Image, tag: str = "1") -> list[str]:
    """Pull an image as a client does, tag first; every byte must be right. Returns the outcome of each request."""
    manifest = puller.manifest(tag, image.repository)
    assert (manifest.status, manifest.body) == (200, image.manifest)
    outcomes = [outcome(manifest)]
    for digest in image.blobs:
        got = puller.start_blob(image.repository, digest).finish()
        assert (got.status, got.digest, got.complete) == (200, digest, True), got
        outcomes.append(str(got.headers["X-Cache"]))
    return outcomes


def all_is_sent(cache: CacheServer) -> bool:
    return Outbox(Layout(cache.root)).is_empty()


def wait_until_sent(cache: CacheServer) -> None:
    """Return when the bucket has all that it was to get from this cache.

    A client has the last byte of a blob of over 8 MiB before that is committed, and comes into the outbox.
    """
    eventually(lambda: all_is_sent(cache))
