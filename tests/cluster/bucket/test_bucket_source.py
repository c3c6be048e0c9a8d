"""A source that asks the bucket first: when it is asked, who goes on after a cut, and who is blamed for wrong bytes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from registry_cache.errors import UpstreamUnavailable
from registry_cache.oci import object_keys
from registry_cache.oci.digest import Digest
from registry_cache.pull.cluster.bucket_source import BucketFirst
from registry_cache.pull.source import BlobSource, WantedBlob
from registry_cache.pull.transfer.progress import TransferProgress
from registry_cache.pull.transfer.transfer import Transfer, TransferParts
from registry_cache.store.outbox import Outbox
from registry_cache.upstream.bucket import BucketReader
from registry_cache.upstream.client import Upstream
from tests.harness.pull_rig import Body, Script, Try, drain, hurry
from tests.harness.store_rig import APP, HUB, HUB_APP, Store
from tests.harness.targets import target_at

DATA = bytes(range(256)) * 400
DIGEST = Digest.of(DATA)
MEMBERSHIP = object_keys.membership(HUB_APP, DIGEST)


@dataclass
class FakeBucket:
    """A bucket whose blob comes as `script` says; `keys` are there beside it."""

    script: Script
    keys: set[str] = field(default_factory=lambda: {MEMBERSHIP})
    deleted: list[str] = field(default_factory=list)
    is_away: bool = False

    def size(self, key: str) -> int | None:
        if self.is_away:
            raise UpstreamUnavailable("away")
        return 0 if key in self.keys else None

    def open(self, key: str, digest: Digest, start: int = 0, stop: int | None = None) -> Body | None:
        assert (key, digest) == (object_keys.blob(DIGEST), DIGEST)
        return None if self.deleted else self.script.open(start, False, stop)

    def delete(self, key: str) -> None:
        self.deleted.append(key)


@dataclass
class Named:
    name: str = HUB


@dataclass
class Rig:
    store: Store
    bucket: FakeBucket
    registry: Script

    @property
    def outbox(self) -> Outbox:
        return Outbox(self.store.layout)

    def source(self) -> BlobSource:
        def registry_of(*_: Any, **__: Any) -> BlobSource:
            return self.registry.source()

        first = BucketFirst(cast("BucketReader", self.bucket), self.outbox, registry_of)
        return first(WantedBlob(target_at(cast("Upstream", Named()), APP), DIGEST))

    def transfer(self) -> tuple[TransferProgress, BlobSource]:
        feed, source = TransferProgress(DIGEST), self.source()
        Transfer(feed, source, TransferParts(self.store.blobs, self.store.partials)).run(lambda: True)
        return feed, source


@pytest.fixture
def make_rig(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Rig]:
    hurry(monkeypatch)

    def make(bucket: Iterable[Try] = (), registry: Iterable[Try] = ()) -> Rig:
        return Rig(store, FakeBucket(Script(DATA, list(bucket))), Script(DATA, list(registry)))

    return make


def test_the_bucket_brings_all(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()

    feed, source = rig.transfer()

    assert drain(feed) == DATA
    assert source.was_near()
    assert rig.registry.starts == []
    # It need not go back there.
    assert rig.outbox.is_empty()


@pytest.mark.parametrize("is_away", [False, True])
def test_what_the_bucket_does_not_have_the_registry_brings(make_rig: Callable[..., Rig], is_away: bool) -> None:
    rig = make_rig()
    rig.bucket.keys.clear()
    rig.bucket.is_away = is_away

    feed, source = rig.transfer()

    assert drain(feed) == DATA
    assert not source.was_near()
    assert rig.bucket.script.starts == []
    assert [entry.name for entry in rig.outbox.entries()] == [str(DIGEST)]


def test_after_a_cut_the_bucket_goes_on_and_after_one_without_a_byte_the_registry(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(bucket=[Try(cut=30_000), Try(cut=0)])

    feed, _ = rig.transfer()

    assert drain(feed) == DATA
    assert (rig.bucket.script.starts, rig.registry.starts) == ([0, 30_000], [30_000])


def test_while_the_registry_is_down_the_bucket_is_asked_again(make_rig: Callable[..., Rig]) -> None:
    down = Try(refuse=UpstreamUnavailable("down"))
    rig = make_rig(bucket=[Try(cut=30_000), Try(cut=0)], registry=[down] * 9)

    feed, _ = rig.transfer()

    assert drain(feed) == DATA
    assert rig.bucket.script.starts == [0, 30_000, 30_000]


def test_wrong_bytes_of_the_bucket_are_deleted_and_not_blamed_on_the_registry(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(bucket=[Try(flip=5)], registry=[Try(flip=7), Try()])

    feed, _ = rig.transfer()

    assert drain(feed) == DATA
    assert rig.bucket.deleted == [object_keys.blob(DIGEST)]
    # Twice, as for a registry that has sent wrong bytes once.
    assert rig.registry.starts == [0, 0]
    assert [entry.name for entry in rig.outbox.entries()] == [str(DIGEST)]


def test_of_bytes_from_two_places_nothing_is_deleted(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(bucket=[Try(cut=30_000), Try(cut=0)], registry=[Try(flip=50_000)])

    feed, _ = rig.transfer()

    assert drain(feed) == DATA
    assert rig.bucket.deleted == []
    assert rig.registry.starts == [30_000, 0]


def test_a_source_that_never_begins_at_0_goes_to_the_bucket_too(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()

    with_range = rig.source().open(40_000, False, 50_000)

    # The bucket's answer goes on to the end: one request, whatever was asked for.
    assert (with_range.start, with_range.stop, rig.bucket.script.starts) == (40_000, None, [40_000])
    assert b"".join(with_range) == DATA[40_000:]
