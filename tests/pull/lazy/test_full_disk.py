"""Ranges of a cold blob while the disk keeps nothing: those who read at the same time share them all the same."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from random import Random
from typing import Any

import pytest

from registry_cache.oci.digest import Digest
from registry_cache.pull.outcome import Outcome
from registry_cache.store import unkept_pieces
from registry_cache.store.piece_file import PIECE_SIZE
from tests.harness.images import KiB, MiB, random_bytes
from tests.harness.lazy_rig import LazyWorker, workers
from tests.harness.pull_rig import chunks
from tests.harness.store_rig import HUB, Store
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

DATA = random_bytes(6 * MiB + 77, seed="unkept")
SIZE = len(DATA)
DIGEST = Digest.of(DATA)
NAME = str(DIGEST)
FOOTER = (SIZE - 47, SIZE)


class FullDisk:
    """Takes `left` more writes to files of pieces, and then none while it `is_full`."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.is_full = True
        self._pwrite = os.pwrite

    def pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        if self.is_full and "/pieces/" in os.readlink(f"/proc/self/fd/{descriptor}"):
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
        return self._pwrite(descriptor, data, offset)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], FullDisk]:
    def fill(left: int) -> FullDisk:
        disk = FullDisk(left)
        monkeypatch.setattr(os, "pwrite", disk.pwrite)
        return disk

    return fill


@pytest.fixture
def worker(store: Store, upstream: FakeUpstream) -> Iterator[LazyWorker]:
    upstream.add_blob(DATA)
    with workers(store, upstream.url, "fill") as [found]:
        yield found
        upstream.faults.release()


def read_all(worker: LazyWorker, parts: list[tuple[int, int]]) -> None:
    with ThreadPoolExecutor(len(parts)) as pool:
        found = list(pool.map(lambda part: worker.read(DIGEST, *part), parts))
    assert found == [DATA[slice(*part)] for part in parts]


# A file of pieces cannot be made; it can, and takes no piece; its first pieces alone.
@pytest.mark.parametrize("left", [0, 1, 2, 4])
def test_forty_readers_of_overlapping_ranges_cost_each_byte_once(
    worker: LazyWorker, upstream: FakeUpstream, full_disk: Callable[[int], FullDisk], left: int
) -> None:
    full_disk(left)
    dice = Random(1)
    starts = [2 * MiB + dice.randrange(512 * KiB) for _ in range(38)]
    parts = [FOOTER, *((at, at + 128 * KiB) for at in starts), FOOTER]
    read_all(worker, parts)
    touched = {piece for start, stop in parts for piece in range(start // PIECE_SIZE, (stop - 1) // PIECE_SIZE + 1)}
    whole = sum(min(SIZE, (piece + 1) * PIECE_SIZE) - piece * PIECE_SIZE for piece in touched)
    assert upstream.bytes_sent(NAME) == whole
    # Readers have all they want before the cleanup hears of it.
    worker.idle_flights()
    # It was told that it is full, and nobody downloads the whole that it would not keep.
    assert sum(worker.short_of) > 0
    assert worker.transfers.find(DIGEST) is None
    assert worker.outcome(DIGEST, *FOOTER) is Outcome.HIT


def test_what_the_disk_has_and_what_it_does_not_take_are_read_as_one(
    worker: LazyWorker, upstream: FakeUpstream, full_disk: Callable[[int], FullDisk]
) -> None:
    worker.read(DIGEST, MiB, MiB + 8 * PIECE_SIZE)
    worker.idle()
    full_disk(0)
    assert worker.read(DIGEST, 0, MiB + 32 * PIECE_SIZE) == DATA[: MiB + 32 * PIECE_SIZE]
    assert worker.read(DIGEST, 1000, 2 * MiB) == DATA[1000 : 2 * MiB]
    assert upstream.bytes_sent(NAME) == 2 * MiB


def test_once_it_takes_pieces_again_it_is_given_them(
    worker: LazyWorker, upstream: FakeUpstream, full_disk: Callable[[int], FullDisk], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = full_disk(0)
    read_all(worker, [FOOTER])
    disk.is_full = False
    # For a while it is not asked.
    read_all(worker, [(0, 100)])
    assert worker.pieces.open(HUB, DIGEST).__class__ is unkept_pieces.MemoryPieceFile
    monkeypatch.setattr(unkept_pieces, "LAST_SECONDS", 0.0)
    read_all(worker, [(MiB, MiB + 100)])
    kept = worker.pieces.open(HUB, DIGEST)
    assert kept
    assert (kept.is_refused, kept.read(MiB, MiB + 100)) == (False, DATA[MiB : MiB + 100])


def test_what_is_in_memory_is_part_of_the_whole(
    worker: LazyWorker, upstream: FakeUpstream, full_disk: Callable[[int], FullDisk]
) -> None:
    disk = full_disk(1)
    read_all(worker, [(MiB, 2 * MiB), FOOTER])
    disk.is_full = False
    assert worker.whole(DIGEST) == DATA
    assert upstream.bytes_sent(NAME) == SIZE
    eventually(lambda: worker.store.blobs.open_any(DIGEST))


def test_who_reads_them_while_the_whole_is_committed_goes_on_from_it(
    worker: LazyWorker, upstream: FakeUpstream, full_disk: Callable[[int], FullDisk]
) -> None:
    disk = full_disk(0)
    with closing(worker.answer(DIGEST, f"0-99,{MiB}-{MiB + 99}").body) as body:
        assert b"".join(chunks(body, 0, 100)) == DATA[:100]
        worker.idle_flights()
        disk.is_full = False
        assert worker.whole(DIGEST) == DATA
        eventually(lambda: worker.store.blobs.open_any(DIGEST))
        assert b"".join(chunks(body, MiB, MiB + 100)) == DATA[MiB : MiB + 100]


def test_memory_has_a_bound_and_behind_it_each_reader_has_its_own_request(
    worker: LazyWorker, upstream: FakeUpstream, full_disk: Callable[[int], FullDisk], monkeypatch: pytest.MonkeyPatch
) -> None:
    full_disk(1)
    monkeypatch.setattr(unkept_pieces, "MAX_SIZE", 256 * KiB)
    # One after another: those who write at the same moment may go beyond it by what each of them has read.
    for part in ((0, MiB), (100, MiB), (MiB, 2 * MiB)):
        read_all(worker, [part])
    assert 0 < worker.pieces._unkept._bytes() <= 256 * KiB
    assert upstream.bytes_sent(NAME) > 2 * MiB


def test_nothing_stays_in_memory(
    worker: LazyWorker, full_disk: Callable[[int], FullDisk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unkept_pieces, "LAST_SECONDS", 0.1)
    full_disk(0)
    read_all(worker, [FOOTER])
    eventually(lambda: worker.pieces._unkept._bytes() == 0)
