"""A feed's readers: they wait, they read on, and nothing wrong ever reaches them whole."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry_cache.errors import BlobUnknown, StoreError, UpstreamCorrupt, UpstreamTimeout
from registry_cache.oci.digest import Digest
from registry_cache.pull import reader_timeout
from registry_cache.pull.blob_body import Cut
from registry_cache.pull.transfer.progress import SHOW_WHOLE_SIZE, TransferProgress
from registry_cache.store.disk import ReadHandle
from tests.harness.pull_rig import SECONDS, drain
from tests.harness.store_rig import HUB_APP

DATA = bytes(range(256)) * 400
DIGEST = Digest.of(DATA)


def opened(path: Path, data: bytes) -> ReadHandle:
    path.write_bytes(data)
    handle = ReadHandle.open(str(path))
    assert handle is not None
    return handle


@pytest.fixture
def whole(tmp_path: Path) -> ReadHandle:
    """All the bytes; a feed shows of them what it was told of."""
    return opened(tmp_path / "whole", DATA)


def test_the_answer_is_waited_for(whole: ReadHandle) -> None:
    feed = TransferProgress(DIGEST)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(feed.wait_for_answer) for _ in range(3)]
        assert not any(future.done() for future in waiting)
        feed.answer(HUB_APP, len(DATA), whole)
        assert [future.result(SECONDS) for future in waiting] == [None] * 3
    assert (feed.owner, feed.size, feed.ended, feed.committed) == (HUB_APP, len(DATA), False, False)


def test_an_error_instead_of_an_answer_reaches_all(whole: ReadHandle) -> None:
    feed, error = TransferProgress(DIGEST), BlobUnknown("no")
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(feed.wait_for_answer) for _ in range(3)]
        feed.fail(error, HUB_APP)
        assert [future.exception(SECONDS) for future in waiting] == [error] * 3
    assert (feed.owner, feed.ended, feed.committed) == (HUB_APP, True, False)
    with pytest.raises(Cut) as cut:
        feed.read(None, 0, 10)
    assert cut.value.error is error


def test_the_last_byte_waits_for_the_commit(whole: ReadHandle) -> None:
    feed = TransferProgress(DIGEST)
    feed.answer(HUB_APP, len(DATA), whole)
    feed.advance(len(DATA))
    last = len(DATA) - 1
    assert feed.read(whole, 0, len(DATA) + 9)[1] == DATA[:-1]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(feed.read, whole, last, 10)
        assert not waiting.done()
        feed.commit(whole, len(DATA))
        assert waiting.result(SECONDS) == (whole, DATA[-1:])
    assert feed.read(whole, len(DATA), 10) == (whole, b"")
    assert feed.read(whole, len(DATA) + 5, 10) == (whole, b"")


def test_a_small_blob_is_shown_whole_and_after_its_commit(tmp_path: Path) -> None:
    data = DATA[:SHOW_WHOLE_SIZE]
    small = opened(tmp_path / "small", data)
    feed = TransferProgress(Digest.of(data))
    feed.answer(HUB_APP, len(data), small)
    assert not feed.advance(len(data) - 1)
    feed.commit(small, len(data))
    assert drain(feed) == data


def test_advancing_tells_whether_it_did(whole: ReadHandle) -> None:
    feed = TransferProgress(DIGEST)
    feed.answer(HUB_APP, None, whole)
    assert [feed.advance(size) for size in (0, 1, 2, 2, 1, 100)] == [False, False, True, False, False, True]


def test_bytes_of_two_files_never_end_up_in_one_body(whole: ReadHandle, tmp_path: Path) -> None:
    feed = TransferProgress(DIGEST)
    feed.answer(HUB_APP, len(DATA), whole)
    feed.advance(50_000)
    file, _ = feed.read(None, 0, 100)
    other = opened(tmp_path / "other", DATA)
    feed.cut_readers()
    feed.answer(HUB_APP, len(DATA), other)
    feed.advance(50_000)
    with pytest.raises(Cut, match="wrong"):
        feed.read(file, 100, 100)
    assert feed.read(None, 0, 100)[0] is other


def test_another_file_is_shown_from_its_own_beginning(whole: ReadHandle, tmp_path: Path) -> None:
    """Whoever takes over may find less than the dead leader had shown: its own bytes are counted anew."""
    feed = TransferProgress(DIGEST)
    feed.answer(HUB_APP, len(DATA), whole)
    feed.advance(90_000)
    shorter = opened(tmp_path / "shorter", DATA[:1000])
    feed.answer(HUB_APP, len(DATA), shorter)
    feed.advance(1000)
    assert feed.read(None, 0, 5000)[1] == DATA[:999]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(feed.read, None, 2000, 10)
        feed.fail(UpstreamCorrupt("end"), HUB_APP)
        assert isinstance(waiting.exception(SECONDS), Cut)


def test_a_restart_cuts_who_has_read_and_lets_wait_who_has_not(whole: ReadHandle) -> None:
    feed = TransferProgress(DIGEST)
    feed.answer(HUB_APP, len(DATA), whole)
    feed.advance(50_000)
    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(feed.read, whole, 60_000, 10)
        fresh = pool.submit(feed.read, None, 60_000, 10)
        feed.cut_readers()
        assert isinstance(reading.exception(SECONDS), Cut)
        assert not fresh.done()
        feed.commit(whole, len(DATA))
        assert fresh.result(SECONDS) == (whole, DATA[60_000:60_010])


def test_after_a_failure_what_is_there_is_still_read_and_then_cut(whole: ReadHandle) -> None:
    feed, error = TransferProgress(DIGEST), UpstreamTimeout("silent")
    feed.answer(HUB_APP, len(DATA), whole)
    feed.advance(1000)
    feed.fail(error, HUB_APP)
    with pytest.raises(Cut) as cut:
        drain(feed)
    assert (cut.value.error, cut.value.args[1]) == (error, DATA[:999])


def test_a_failure_of_nobodys_keeps_the_owner(whole: ReadHandle) -> None:
    feed = TransferProgress(DIGEST)
    feed.answer(HUB_APP, len(DATA), whole)
    feed.fail(StoreError("disk"), None)
    assert feed.owner == HUB_APP


def test_a_reader_outlasts_an_eviction(tmp_path: Path) -> None:
    file = opened(tmp_path / "file", DATA)
    feed = TransferProgress(DIGEST)
    feed.answer(HUB_APP, len(DATA), file)
    feed.commit(file, len(DATA))
    now, head = feed.read(None, 0, 10)
    os.unlink(tmp_path / "file")
    assert head + feed.read(now, 10, len(DATA))[1] == DATA


def test_a_disk_that_fails_under_a_reader_is_a_cut(monkeypatch: pytest.MonkeyPatch, whole: ReadHandle) -> None:
    feed = TransferProgress(DIGEST)
    feed.answer(HUB_APP, len(DATA), whole)
    feed.commit(whole, len(DATA))

    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(Cut) as cut:
        feed.read(None, 0, 10)
    assert isinstance(cut.value.error, StoreError)


def test_a_transfer_that_does_not_move_is_given_up(monkeypatch: pytest.MonkeyPatch, whole: ReadHandle) -> None:
    monkeypatch.setattr(reader_timeout, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(reader_timeout, "STALL_TIMEOUT_SECONDS", 0.02)
    feed = TransferProgress(DIGEST)
    with pytest.raises(Cut, match="has not moved"):
        feed.wait_for_answer()
    feed.answer(HUB_APP, len(DATA), whole)
    with pytest.raises(Cut, match="has not moved"):
        feed.read(None, 0, 10)


def test_a_hundred_readers_of_any_part_see_the_right_bytes(whole: ReadHandle) -> None:
    feed, early = TransferProgress(DIGEST), []
    before = threading.active_count()

    def read(number: int) -> bytes:
        got = drain(feed, number * 777, length=1 + number * 97)
        if not feed.committed:
            early.append(number)
        return got

    with ThreadPoolExecutor(100) as pool:
        reading = [pool.submit(read, number) for number in range(100)]
        feed.answer(HUB_APP, len(DATA), whole)
        for size in range(0, len(DATA), 997):
            feed.advance(size)
        feed.commit(whole, len(DATA))
        assert [future.result(SECONDS) for future in reading] == [DATA[number * 777 :] for number in range(100)]
    assert early == []
    assert threading.active_count() <= before
