"""Ranges of cold blobs by several workers over one store: full disks, evictions under readers, other configurations."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from registry_cache.errors import UpstreamTimeout
from registry_cache.oci.digest import Digest
from registry_cache.pull import reader_timeout
from registry_cache.pull.blob_body import Cut
from registry_cache.pull.outcome import Outcome
from registry_cache.runtime import request_context
from registry_cache.store import eviction, inventory
from registry_cache.store.piece_file import PIECE_SIZE
from registry_cache.upstream.client import Lazy
from tests.harness.images import KiB, MiB, random_bytes
from tests.harness.lazy_rig import LazyWorker, workers
from tests.harness.pull_rig import chunks
from tests.harness.store_rig import HUB, Store
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

DATA = random_bytes(6 * MiB + 77, seed="lazy pulls")
SIZE = len(DATA)
DIGEST = Digest.of(DATA)
NAME = str(DIGEST)
# Three pieces, from the middle of one on; and one far from them.
NEAR, FAR = (MiB + 1000, MiB + 1000 + 2 * PIECE_SIZE), (5 * MiB, 5 * MiB + PIECE_SIZE)


@pytest.fixture
def worker(store: Store, upstream: FakeUpstream) -> Iterator[LazyWorker]:
    upstream.add_blob(DATA)
    with workers(store, upstream.url, "hold") as [found]:
        yield found
        upstream.faults.release()


@contextmanager
def full_from(number: int) -> Iterator[list[int]]:
    """A disk that takes half of the ``number``-th write, and nothing after it; yields the sizes of writes so far."""
    really, sizes = os.pwrite, list[int]()

    def pwrite(descriptor: int, data: Any, offset: int) -> int:
        sizes.append(len(data))
        if len(sizes) < number:
            return really(descriptor, data, offset)
        if len(sizes) == number and len(data) > 1:
            return really(descriptor, data[: len(data) // 2], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "pwrite", pwrite)
        yield sizes


def test_a_disk_that_is_full_in_the_middle_of_a_piece_costs_no_reader_a_byte(
    store: Store, upstream: FakeUpstream
) -> None:
    """At any write of it. What is kept by then is right; once there is room, the rest is kept, too."""
    upstream.add_blob(DATA)
    for number in range(1, 40):
        with workers(store, upstream.url, "hold") as [worker]:
            with full_from(number) as writes:
                assert worker.read(DIGEST, *NEAR) == DATA[slice(*NEAR)]
                worker.idle()
            refused = len(writes) >= number
            is_whole = worker.store.blobs.open_any(DIGEST) is not None
            # Where no file of pieces could be made, the whole was downloaded, and makes room for itself.
            assert is_whole or bool(worker.short_of) == refused
            file = worker.pieces.open(HUB, DIGEST)
            for start in range(0, SIZE, PIECE_SIZE):
                kept = file.read(start, start + PIECE_SIZE) if file else b""
                assert kept in (b"", DATA[start : start + PIECE_SIZE])
            upstream.forget()
            assert worker.read(DIGEST, *NEAR) == DATA[slice(*NEAR)]
            assert worker.read(DIGEST, *FAR) == DATA[slice(*FAR)]
            assert worker.outcome(DIGEST, *FAR) is Outcome.HIT
            assert worker.whole(DIGEST) == DATA
            assert upstream.bytes_sent(NAME) <= SIZE
        for path in (*store.files("blobs"), *store.files("repositories"), *store.files("pieces")):
            os.unlink(Path(store.layout.root) / path)
        if not refused:
            break
    assert 4 < number < 39


def evict(worker: LazyWorker) -> bool:
    """Let a cleanup evict the pieces, as where the disk is short of room; return whether it did."""
    [stored] = inventory.blobs_in_pieces(worker.store.layout)
    return eviction.evict_pieces(worker.store.layout, stored, lambda used, hex: True)


def test_pieces_that_somebody_fetches_are_not_evicted(worker: LazyWorker, upstream: FakeUpstream) -> None:
    upstream.faults.hold_at = MiB + 10 * PIECE_SIZE
    with closing(worker.answer(DIGEST, f"{MiB}-{2 * MiB - 1}").body) as body:
        parts = chunks(body, MiB, 2 * MiB)
        got = next(parts)
        assert not evict(worker)
        upstream.faults.gate.set()
        assert got + b"".join(parts) == DATA[MiB : 2 * MiB]


def test_who_reads_pieces_that_are_evicted_gets_all_of_them(worker: LazyWorker, upstream: FakeUpstream) -> None:
    worker.read(DIGEST, MiB, 2 * MiB)
    worker.idle()
    with closing(worker.answer(DIGEST, f"{MiB}-{2 * MiB - 1}").body) as body:
        parts = chunks(body, MiB, 2 * MiB)
        got = next(parts)
        assert evict(worker)
        assert got + b"".join(parts) == DATA[MiB : 2 * MiB]
    # The next reader has them fetched again.
    assert worker.read(DIGEST, MiB, 2 * MiB) == DATA[MiB : 2 * MiB]
    assert upstream.bytes_sent(NAME) == 2 * MiB


BOTH = f"{NEAR[0]}-{NEAR[1] - 1},{FAR[0]}-{FAR[1] - 1}"


def test_who_needs_more_than_what_was_evicted_is_cut_and_downloads_nothing(
    worker: LazyWorker, upstream: FakeUpstream
) -> None:
    """What is gone may have been wrong, and must not be continued; a range does not start the whole either."""
    with closing(worker.answer(DIGEST, BOTH).body) as body:
        assert b"".join(chunks(body, *NEAR)) == DATA[slice(*NEAR)]
        worker.idle_flights()
        assert evict(worker)
        sent = upstream.bytes_sent(NAME)
        with pytest.raises(Cut):
            next(chunks(body, *FAR))
    assert upstream.bytes_sent(NAME) == sent
    assert worker.read(DIGEST, *FAR) == DATA[slice(*FAR)]


def test_who_reads_pieces_while_the_whole_is_committed_goes_on_from_it(
    worker: LazyWorker, upstream: FakeUpstream
) -> None:
    with closing(worker.answer(DIGEST, BOTH).body) as body:
        assert b"".join(chunks(body, *NEAR)) == DATA[slice(*NEAR)]
        assert worker.whole(DIGEST) == DATA
        eventually(lambda: not worker.store.files("pieces"))
        assert b"".join(chunks(body, *FAR)) == DATA[slice(*FAR)]
    assert upstream.bytes_sent(NAME) == SIZE


def test_who_follows_a_whole_that_upstream_announces_no_length_of_is_not_cut(
    worker: LazyWorker, upstream: FakeUpstream
) -> None:
    upstream.faults.no_length, upstream.faults.hold_at = True, MiB
    with closing(worker.answer(DIGEST).body) as whole:
        assert whole.size is None
        upstream.hold_no_more()
        upstream.faults.no_length = False
        with closing(worker.answer(DIGEST, f"{FAR[0]}-{FAR[1] - 1},100-199").body) as body:
            assert b"".join(chunks(body, *FAR)) == DATA[slice(*FAR)]
            assert b"".join(chunks(body, 100, 200)) == DATA[100:200]


def test_a_disk_that_does_not_give_the_middle_of_a_piece_costs_no_reader_a_byte(
    worker: LazyWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.read(DIGEST, *NEAR)
    worker.idle()
    really = os.pread

    def pread(descriptor: int, length: int, offset: int) -> bytes:
        if length >= PIECE_SIZE and "/pieces/" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EIO, "Input/output error")
        return really(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", pread)
    assert worker.read(DIGEST, *NEAR) == DATA[slice(*NEAR)]


@pytest.mark.parametrize("now", ["fill", "off", "hold"])
def test_pieces_that_were_held_are_part_of_what_another_configuration_brings(
    worker: LazyWorker, store: Store, upstream: FakeUpstream, now: Lazy
) -> None:
    for start in range(0, SIZE, MiB):
        worker.read(DIGEST, start, min(SIZE, start + 512 * KiB))
    worker.idle()
    assert worker.store.blobs.open_any(DIGEST) is None
    with workers(store, upstream.url, now) as [other]:
        assert other.read(DIGEST, *NEAR) == DATA[slice(*NEAR)]
        if now == "fill":
            eventually(lambda: other.store.blobs.open_any(DIGEST))
        assert other.whole(DIGEST) == DATA
        eventually(lambda: not store.files("pieces"))
    assert upstream.bytes_sent(NAME) == SIZE


def test_a_download_behind_readers_ends_well_where_the_next_configuration_holds(
    worker: LazyWorker, store: Store, upstream: FakeUpstream
) -> None:
    """As at a reload: the old worker goes on with what it began, and the new one reads beside it."""
    with workers(store, upstream.url, "fill") as [filling]:
        filling.read(DIGEST, 2 * MiB, 3 * MiB)
        # With the next megabyte there is a quarter of the blob. What is downloaded then is held within the first.
        upstream.faults.of(NAME).hold_at = MiB
        filling.read(DIGEST, 3 * MiB, 4 * MiB)
        eventually(lambda: filling.transfers.find(DIGEST))
        upstream.wait_until(lambda: upstream.in_flight(NAME))
        sent = upstream.bytes_sent(NAME)
        assert worker.outcome(DIGEST, 3 * MiB, 4 * MiB) is Outcome.HIT
        assert worker.read(DIGEST, 2 * MiB, 3 * MiB) == DATA[2 * MiB : 3 * MiB]
        assert sent < SIZE
        upstream.faults.of(NAME).gate.set()
        assert worker.whole(DIGEST) == DATA
        assert filling.whole(DIGEST) == DATA
    assert upstream.bytes_sent(NAME) == SIZE


def test_who_has_left_a_silent_range_does_not_begin_the_whole(
    worker: LazyWorker, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_timeout, "LOOK_SECONDS", 0.3)
    upstream.faults.hold_at = FAR[0] + 10

    def read() -> bytes:
        request_context.note_client(lambda: True)
        return worker.read(DIGEST, *FAR)

    with pytest.raises((Cut, UpstreamTimeout), match="the client has left"):
        copy_context().run(read)
    assert [each.headers["Range"] for each in upstream.asked("GET", NAME)] == [f"bytes={FAR[0]}-{FAR[1] - 1}"]
