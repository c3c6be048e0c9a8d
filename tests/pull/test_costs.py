"""What a hit, a revalidation and a follower cost, in counts that do not wobble: the guard of what was made fast."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from unittest import mock

import pytest

from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Tag
from registry_cache.pull.access import Access
from registry_cache.pull.blob import BlobPull, WholeBlob
from registry_cache.pull.blob_body import FilePart
from registry_cache.pull.growing_blob import GrowingBlob
from registry_cache.pull.images.manifest_lookup import Layers
from registry_cache.pull.manifest import ManifestPull
from registry_cache.pull.outcome import Outcome
from registry_cache.pull.reader_slots import ReaderSlots
from registry_cache.pull.single_flight import MachineFlights
from registry_cache.pull.target import PullTarget, TagPolicy
from registry_cache.pull.transfer.transfer import TransferParts
from registry_cache.pull.transfer.transfers import Transfers
from registry_cache.store.disk import ReadHandle
from tests.harness.content import OCI_MANIFEST
from tests.harness.images import random_bytes
from tests.harness.pull_rig import chunks
from tests.harness.store_rig import APP, Store
from tests.harness.targets import target_at
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import connect
from tests.harness.waiting import eventually

CALLS = (
    *("open", "stat", "fstat", "read", "pread", "write", "pwrite", "ftruncate"),
    *("utime", "link", "readlink", "rename", "unlink", "getxattr", "listdir"),
)
POLICY = TagPolicy(timeout_seconds=20.0)


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Yield how often this process asks the file system for something, by call."""
    counts: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, _counting(name, getattr(os, name), counts))
        yield counts


def _counting(name: str, really: Any, counts: Counter[str]) -> Any:
    def call(*arguments: Any, **options: Any) -> Any:
        counts[name] += 1
        return really(*arguments, **options)

    return call


@pytest.fixture
def manifests(store: Store) -> ManifestPull:
    return ManifestPull(store.records, MachineFlights(store.layout), lambda: datetime.now(UTC))


@pytest.fixture
def blobs(store: Store) -> BlobPull:
    transfers = Transfers(TransferParts(store.blobs, store.partials))
    access_of = partial(Access, flights=MachineFlights(store.layout))
    return BlobPull(store.blobs, transfers, ReaderSlots(100), Layers(store.records), access_of)


def test_a_manifest_by_digest(upstream: FakeUpstream, manifests: ManifestPull) -> None:
    target = target_at(connect(upstream.url), APP, POLICY)
    upstream.add_manifest(b"{}", OCI_MANIFEST, tag="1")
    digest = manifests.get(target, Tag("1")).digest
    assert manifests.get(target, digest).outcome is Outcome.HIT  # read, and kept in memory
    upstream.forget()

    with counted() as counts:
        assert manifests.get(target, digest).outcome is Outcome.HIT

    assert counts == {"stat": 2}
    assert upstream.exchanges == []


def test_a_blob(upstream: FakeUpstream, blobs: BlobPull) -> None:
    target = target_at(connect(upstream.url), APP, POLICY)
    digest = blobs_digest(upstream, 1000)
    pulled(blobs, target, digest)
    upstream.forget()

    with counted() as counts:
        answer = blobs.get(target, digest)

    assert isinstance(answer.body, WholeBlob)
    assert counts == {"open": 1, "fstat": 1, "readlink": 1, "getxattr": 1}
    assert upstream.exchanges == []


def test_others_have_a_turn_between_the_chunks_of_a_hit(upstream: FakeUpstream, blobs: BlobPull) -> None:
    target = target_at(connect(upstream.url), APP, POLICY)
    digest = blobs_digest(upstream, 600_000)
    pulled(blobs, target, digest)
    body = blobs.get(target, digest).body
    assert isinstance(body, WholeBlob)

    with mock.patch.object(time, "sleep") as turn:
        pieces = list(chunks(body, 0, body.size))

    assert sum(map(len, pieces)) == 600_000
    assert turn.mock_calls == [mock.call(0)] * (len(pieces) - 1)
    assert len(pieces) > 2


def test_a_tag_that_is_fresh(upstream: FakeUpstream, manifests: ManifestPull) -> None:
    target = target_at(connect(upstream.url), APP, TagPolicy(max_age=timedelta(hours=1)))
    upstream.add_manifest(b"{}", OCI_MANIFEST, tag="1")
    manifests.get(target, Tag("1"))
    assert manifests.get(target, Tag("1")).outcome is Outcome.HIT  # read, and kept in memory
    upstream.forget()

    with counted() as counts:
        assert manifests.get(target, Tag("1")).outcome is Outcome.HIT

    assert counts == {"stat": 3}
    assert upstream.exchanges == []


def test_a_tag_that_is_compared_again_and_again(upstream: FakeUpstream, store: Store) -> None:
    now = datetime.now(UTC)
    manifests = ManifestPull(store.records, MachineFlights(store.layout), lambda: now)
    target = target_at(connect(upstream.url), APP, POLICY)
    upstream.add_manifest(b'{"schemaVersion":2,"manifests":[]}', OCI_MANIFEST, tag="1")
    manifests.get(target, Tag("1"))
    now += timedelta(seconds=0.2)
    with counted() as counts:
        assert manifests.get(target, Tag("1")).outcome is Outcome.REVALIDATED
    assert counts["utime"] == 1
    now += timedelta(seconds=0.05)
    assert manifests.get(target, Tag("1")).outcome is Outcome.REVALIDATED  # read, and kept in memory
    upstream.forget()

    with counted() as counts:
        assert manifests.get(target, Tag("1")).outcome is Outcome.REVALIDATED

    # The record twice and the manifest as for a hit; the lock is opened, read, looked at, written and removed.
    assert counts == {"stat": 4, "open": 1, "pread": 1, "fstat": 3, "pwrite": 1, "unlink": 1}
    assert [exchange.method for exchange in upstream.exchanges] == ["HEAD"]


def test_tags_are_compared_over_one_connection(upstream: FakeUpstream, manifests: ManifestPull) -> None:
    target = target_at(connect(upstream.url), APP, POLICY)
    upstream.add_manifest(b"{}", OCI_MANIFEST, tag="1")
    manifests.get(target, Tag("1"))
    upstream.forget()

    for _ in range(10):
        assert manifests.get(target, Tag("1")).outcome is Outcome.REVALIDATED

    assert len(upstream.requests("HEAD")) == len(upstream.exchanges) == 10
    assert len({exchange.connection for exchange in upstream.exchanges}) == 1


def test_a_follower_reads_nothing_that_its_server_can_send(
    upstream: FakeUpstream, blobs: BlobPull, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = target_at(connect(upstream.url), APP, POLICY)
    digest = blobs_digest(upstream, 3_000_000)
    body = blobs.get(target, digest).body
    assert isinstance(body, GrowingBlob)

    def read_at(*_: object) -> bytes:
        raise AssertionError("a chunk was copied")

    with monkeypatch.context() as patch:
        patch.setattr(ReadHandle, "read_at", read_at)
        parts = list(body.parts(0, body.size, from_file=True))
    body.close()

    assert all(isinstance(part, FilePart) for part in parts)
    assert sum(map(len, parts)) == 3_000_000
    whole = b"".join(part.file.read_at(part.offset, part.length) for part in parts if isinstance(part, FilePart))
    assert Digest.of(whole) == digest


def blobs_digest(upstream: FakeUpstream, size: int) -> Digest:
    return Digest.parse(upstream.add_blob(random_bytes(size, seed=size)))


def pulled(blobs: BlobPull, target: PullTarget, digest: Digest) -> None:
    body = blobs.get(target, digest).body
    assert isinstance(body, GrowingBlob)
    body.wait_until_stored()
    body.close()
    # The transfer records the membership after its readers know of the commit.
    eventually(lambda: not blobs._transfers._running)
