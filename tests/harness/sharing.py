"""What the tests of caches that share a bucket have in common."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
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


def senders(cache: CacheServer) -> list[int]:
    """The process ids of those that write to the bucket for this cache."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if b"registry_cache.bucket.sender" in words and parent in cache.workers():
                found.append(int(entry.name))
    return found


def all_is_sent(cache: CacheServer) -> bool:
    return Outbox(Layout(cache.root)).is_empty()


def wait_until_sent(cache: CacheServer) -> None:
    """Return when the bucket has all that it was to get from this cache.

    A client has the last byte of a blob of over 8 MiB before that is committed, and comes into the outbox.
    """
    eventually(lambda: all_is_sent(cache))
