"""A growing blob whose size upstream corrects: what was announced is never taken for the end of something verified."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry_cache.errors import UpstreamCorrupt
from registry_cache.oci.digest import Digest
from registry_cache.policy.verification_wait import ArrivalFacts
from registry_cache.pull.blob_body import Cut
from registry_cache.pull.growing_blob import GrowingBlob
from registry_cache.pull.reader_slots import ReaderSlots
from registry_cache.pull.transfer import progress
from registry_cache.pull.transfer.progress import TransferProgress
from registry_cache.pull.transfer.transfer import TransferParts
from registry_cache.pull.transfer.transfers import Transfers
from registry_cache.pull.uncached.shared_streams import SharedStreams
from registry_cache.store.disk import ReadHandle
from tests.harness.pull_rig import SECONDS, chunks
from tests.harness.store_rig import APP, HUB_APP, Store
from tests.harness.targets import target_at
from tests.harness.upstream_rig import connect

DATA = os.urandom(100_000)
DIGEST = Digest.of(DATA)


@pytest.fixture
def file(tmp_path: Path) -> ReadHandle:
    (tmp_path / "bytes").write_bytes(DATA)
    handle = ReadHandle.open(str(tmp_path / "bytes"))
    assert handle is not None
    return handle


def growing(store: Store, feed: TransferProgress) -> GrowingBlob:
    """A reader of ``feed``, as one request is; nobody listens where its registry would be."""
    target = target_at(connect("http://127.0.0.1:9"), APP)
    transfers = Transfers(TransferParts(store.blobs, store.partials))
    return GrowingBlob(transfers, ReaderSlots(10), SharedStreams(), feed, target)


def test_the_last_announced_byte_waits_for_the_commit_though_more_is_there(store: Store, file: ReadHandle) -> None:
    feed = TransferProgress(DIGEST)
    feed.answer(HUB_APP, 60_000, file)
    feed.advance(70_000)
    blob = growing(store, feed)
    got = b""
    pieces = chunks(blob, 0, blob.size)
    while len(got) < 59_999:
        got += next(pieces)
    assert got == DATA[:59_999]

    feed.commit(file, len(DATA))
    with pytest.raises(Cut) as cut:
        next(pieces)
    assert isinstance(cut.value.error, UpstreamCorrupt)


def test_a_size_that_upstream_corrects_cuts_who_was_told_the_old_one(store: Store, file: ReadHandle) -> None:
    feed = TransferProgress(DIGEST)
    feed.answer(HUB_APP, 60_000, file)
    feed.advance(50_000)
    blob = growing(store, feed)
    pieces = chunks(blob, 0, blob.size)
    next(pieces)
    feed.answer(HUB_APP, len(DATA), file)
    feed.advance(70_000)
    with pytest.raises(Cut):
        for _ in pieces:
            pass


def test_who_was_told_no_size_gets_all_of_it(store: Store, file: ReadHandle) -> None:
    feed = TransferProgress(DIGEST)
    feed.answer(HUB_APP, None, file)
    feed.advance(50_000)
    pieces = chunks(growing(store, feed), 0, None)
    first = next(pieces)
    feed.commit(file, len(DATA))
    assert first + b"".join(pieces) == DATA


def test_whoever_cannot_tell_an_end_from_a_cut_waits_for_the_whole(store: Store, file: ReadHandle) -> None:
    feed = TransferProgress(DIGEST)
    feed.answer(HUB_APP, None, file)
    blob = growing(store, feed)
    feed.commit(file, len(DATA))
    blob.wait_for_size()
    assert blob.size == len(DATA)

    feed = TransferProgress(DIGEST)
    feed.answer(HUB_APP, None, file)
    blob = growing(store, feed)
    feed.fail(UpstreamCorrupt("wrong"), HUB_APP)
    with pytest.raises(UpstreamCorrupt):
        blob.wait_for_size()


def test_a_part_waits_for_the_verdict_that_is_near(store: Store, file: ReadHandle) -> None:
    feed = TransferProgress(DIGEST)
    feed.answer(HUB_APP, len(DATA), file)
    feed.advance(0)
    feed.advance(90_000)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: b"".join(chunks(growing(store, feed), 10, 20)))
        # What had come was wrong; what comes then is right.
        feed.cut_readers()
        feed.answer(HUB_APP, len(DATA), file)
        feed.commit(file, len(DATA))
        assert waiting.result(SECONDS) == DATA[10:20]


def test_a_part_of_what_is_wrong_is_an_error_where_the_verdict_is_near(store: Store, file: ReadHandle) -> None:
    feed = TransferProgress(DIGEST)
    feed.answer(HUB_APP, len(DATA), file)
    feed.advance(0)
    feed.advance(90_000)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: b"".join(chunks(growing(store, feed), 10, 20)))
        feed.cut_readers()
        feed.fail(UpstreamCorrupt("wrong"), HUB_APP)
        with pytest.raises(Cut):
            waiting.result(SECONDS)


@pytest.mark.parametrize("stop", [20, None])
def test_nobody_waits_for_a_verdict_that_is_far(
    store: Store, file: ReadHandle, stop: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = TransferProgress(DIGEST)
    asked: list[ArrivalFacts] = []

    def far(arrival: ArrivalFacts, waited: float) -> float:
        asked.append(arrival)
        return 0.0

    monkeypatch.setattr(progress, "seconds_to_wait", far)
    feed.answer(HUB_APP, len(DATA), file)
    feed.advance(50_001)
    assert next(chunks(growing(store, feed), 10, stop or len(DATA))).startswith(DATA[10:20])
    # Who asks for the end gets the last byte after the verdict anyway.
    assert [each.missing for each in asked] == ([] if stop is None else [50_000])
