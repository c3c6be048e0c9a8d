"""A failed download tells other processes for a minute, and then leaves nothing."""

from __future__ import annotations

import threading

import pytest

from registry_cache.errors import BlobUnknown
from registry_cache.oci.digest import Digest
from registry_cache.pull.transfer import failures
from registry_cache.pull.transfer.failures import KEEP_SECONDS, RecentFailures
from registry_cache.store.download_status import failed_status
from tests.harness.pull_rig import Clock
from tests.harness.store_rig import HUB_APP, Store
from tests.harness.waiting import eventually


def fail(store: Store, number: int, data: bytes = b"") -> Digest:
    digest = Digest.of(b"%d" % number)
    claim = store.partials.claim(digest)
    assert claim
    with claim:
        if data:
            with claim.partial() as partial:
                partial.append(data)
        claim.publish(failed_status(HUB_APP, BlobUnknown("no")))
    return digest


class Minute:
    """A clock that stands until the test lets it go on."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.may_pass = threading.Semaphore(0)
        self.paused = threading.Semaphore(0)

    def pause(self, seconds: float) -> None:
        self.paused.release()
        self.may_pass.acquire()
        self.clock.now += KEEP_SECONDS + 1


def test_it_is_told_for_a_minute(store: Store) -> None:
    minute = Minute()
    recent = RecentFailures(store.partials, minute.clock, minute.pause)
    digest = fail(store, 1)
    recent.note(digest)
    assert minute.paused.acquire(timeout=20)
    assert store.partials.status(digest)
    minute.may_pass.release()
    eventually(lambda: not store.files("partial") and not store.files("locks"))


def test_of_too_many_the_oldest_go_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "MAX_KEPT", 3)
    minute = Minute()
    recent = RecentFailures(store.partials, minute.clock, minute.pause)
    digests = [fail(store, number) for number in range(8)]
    recent.note(digests[0])
    assert minute.paused.acquire(timeout=20)
    for digest in digests[1:]:
        recent.note(digest)
    minute.clock.now -= KEEP_SECONDS + 1
    minute.may_pass.release()
    eventually(lambda: len(store.files("partial")) == 3)
    assert [store.partials.status(digest) is not None for digest in digests] == [False] * 5 + [True] * 3
    for _ in range(9):
        minute.may_pass.release()
    eventually(lambda: not store.files("partial"))


def test_bytes_that_came_keep_their_status_and_so_does_what_somebody_is_at(store: Store) -> None:
    with_bytes, busy = fail(store, 1, b"some"), fail(store, 2)
    store.partials.forget_failure(with_bytes)
    claim = store.partials.claim(busy)
    assert claim
    with claim:
        store.partials.forget_failure(busy)
    assert store.partials.status(with_bytes)
    assert store.partials.status(busy)
