"""Pieces of a blob: sparse, found again, claimed by one, and not believed after a power cut."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from registry_cache.oci.digest import Digest
from registry_cache.store import disk, eviction, inventory, piece_files
from registry_cache.store.layout import Layout
from registry_cache.store.piece_file import HEADER, PIECE_SIZE, PieceFile
from registry_cache.store.piece_files import Pieces
from tests.harness.images import KiB, MiB, random_bytes
from tests.harness.store_rig import HUB, Store, children, descriptors, fail_at

SIZE = 10 * MiB + 1000  # the last piece is a short one
DATA = random_bytes(SIZE, seed="pieces")
DIGEST = Digest.of(DATA)


@pytest.fixture
def pieces(layout: Layout) -> Pieces:
    return Pieces(layout)


def keep(file: PieceFile, start: int, stop: int) -> None:
    """Write what a request for these bytes would bring: whole pieces."""
    begin = start // PIECE_SIZE * PIECE_SIZE
    end = min(SIZE, -(-stop // PIECE_SIZE) * PIECE_SIZE)
    assert file.write(begin, DATA[begin:end]) == end - begin


def test_what_was_kept_is_read_by_whoever_opens_it_later(pieces: Pieces) -> None:
    file = pieces.make(HUB, DIGEST, SIZE)
    keep(file, 100, 20_000)
    keep(file, SIZE - 47, SIZE)
    again = pieces.open(HUB, DIGEST)
    assert again
    assert again.size == SIZE
    assert again.read(100, 20_000) == DATA[100:20_000]
    assert again.read(SIZE - 47, SIZE) == DATA[-47:]
    assert again.read(5 * MiB, 6 * MiB) == b""
    assert again.here_until(100, SIZE) == 3 * PIECE_SIZE
    assert again.gap_until(3 * PIECE_SIZE, SIZE) == SIZE // PIECE_SIZE * PIECE_SIZE


def test_a_range_is_read_up_to_the_first_missing_piece(pieces: Pieces) -> None:
    file = pieces.make(HUB, DIGEST, SIZE)
    keep(file, 0, 2 * PIECE_SIZE)
    keep(file, 3 * PIECE_SIZE, 4 * PIECE_SIZE)
    assert file.read(10, 4 * PIECE_SIZE) == DATA[10 : 2 * PIECE_SIZE]
    assert file.gap_until(2 * PIECE_SIZE, SIZE) == 3 * PIECE_SIZE


def test_bytes_that_do_not_fill_a_piece_are_not_kept(pieces: Pieces) -> None:
    file = pieces.make(HUB, DIGEST, SIZE)
    assert file.write(0, DATA[: PIECE_SIZE + 1]) == PIECE_SIZE
    assert file.here_until(0, SIZE) == PIECE_SIZE


def test_a_file_takes_the_room_of_what_is_here(pieces: Pieces, layout: Layout) -> None:
    keep(pieces.make(HUB, DIGEST, SIZE), SIZE - 47, SIZE)
    [found] = inventory.blobs_in_pieces(layout)
    assert found.digest == DIGEST
    assert found.size < 64 * KiB


def test_no_upstream_gets_what_another_brought(pieces: Pieces) -> None:
    keep(pieces.make(HUB, DIGEST, SIZE), 0, 1)
    assert pieces.open("ghcr.io", DIGEST) is None
    pieces.discard_all(DIGEST)
    assert pieces.open(HUB, DIGEST) is None


def test_the_owner_is_the_first_that_upstream_gave_bytes_for(pieces: Pieces) -> None:
    file = pieces.make(HUB, DIGEST, SIZE)
    assert file.owner == ""
    file.set_owner("library/app")
    file.set_owner("library/other")
    again = pieces.open(HUB, DIGEST)
    assert again
    assert again.owner == "library/app"


def lose(path: str, offset: int, size: int) -> None:
    """What a power cut does to bytes that had not reached the disk."""
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(bytes(size))


def test_a_piece_whose_bytes_a_power_cut_took_is_not_believed(pieces: Pieces) -> None:
    file = pieces.make(HUB, DIGEST, SIZE)
    keep(file, 0, 4 * PIECE_SIZE)
    data = os.stat(file.path).st_size - SIZE
    lose(file.path, data + 2 * PIECE_SIZE, 100)
    assert file.read(0, 4 * PIECE_SIZE) == DATA[: 2 * PIECE_SIZE]
    # It is fetched again; those behind it are still good.
    assert file.here_until(2 * PIECE_SIZE, SIZE) == 2 * PIECE_SIZE
    assert file.read(3 * PIECE_SIZE, 4 * PIECE_SIZE) == DATA[3 * PIECE_SIZE : 4 * PIECE_SIZE]


@pytest.mark.parametrize("size", [0, 10, HEADER, HEADER + PIECE_SIZE])
def test_a_file_that_a_power_cut_tore_is_made_anew(pieces: Pieces, size: int) -> None:
    file = pieces.make(HUB, DIGEST, SIZE)
    keep(file, 0, 1)
    os.truncate(file.path, size)
    assert pieces.open(HUB, DIGEST) is None
    assert pieces.make(HUB, DIGEST, SIZE).read(0, 1) == b""


def test_two_who_make_a_file_at_the_same_moment_have_the_same(
    pieces: Pieces, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, looked = piece_files._open, list[str]()

    def open_(path: str, **options: Any) -> PieceFile | None:
        if looked:
            return really(path, **options)
        # Nothing is here yet; and now another process makes it.
        looked.append(path)
        return None

    other = Pieces(layout).make(HUB, DIGEST, SIZE)
    monkeypatch.setattr(piece_files, "_open", open_)
    file = pieces.make(HUB, DIGEST, SIZE)
    keep(file, 0, PIECE_SIZE)
    assert other.has_name()
    assert other.read(0, PIECE_SIZE) == DATA[:PIECE_SIZE]


def test_a_map_of_zeros_says_that_nothing_is_here(pieces: Pieces) -> None:
    file = pieces.make(HUB, DIGEST, SIZE)
    keep(file, 0, SIZE)
    lose(file.path, HEADER, os.stat(file.path).st_size - SIZE - HEADER)
    assert file.read(0, SIZE) == b""
    assert file.gap_until(0, SIZE) == SIZE


def test_an_entry_that_is_torn_is_a_missing_piece(pieces: Pieces) -> None:
    """As of a write that a full disk ended, or a kill; those beside it are good."""
    file = pieces.make(HUB, DIGEST, SIZE)
    keep(file, 0, 4 * PIECE_SIZE)
    lose(file.path, HEADER + 8 + 4, 4)
    assert file.here_until(0, SIZE) == PIECE_SIZE
    assert file.gap_until(PIECE_SIZE + 5, SIZE) == 2 * PIECE_SIZE
    assert file.read(2 * PIECE_SIZE, 3 * PIECE_SIZE) == DATA[2 * PIECE_SIZE : 3 * PIECE_SIZE]
    lose(file.path, HEADER + 2 * 8 + 4, 10 * 8)
    assert file.gap_until(PIECE_SIZE, SIZE) == SIZE
    claim = file.claim(PIECE_SIZE, SIZE)
    assert claim
    claim.close()


def test_a_blob_of_a_terabyte_of_which_little_is_here_costs_few_reads(
    pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upstream has only to announce one; its map has a gigabyte, and nobody else had a turn while it was read."""
    size, far = 1024 * 1024 * MiB, 700_000 * MiB
    file = pieces.make(HUB, DIGEST, size)
    for at in (0, far):
        file.write(at, DATA[:PIECE_SIZE])
    read: list[int] = []
    pread = os.pread

    def counted(descriptor: int, count: int, offset: int) -> bytes:
        read.append(count)
        return pread(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", counted)
    assert file.here_until(0, size) == PIECE_SIZE
    assert file.gap_until(PIECE_SIZE, size) == far
    assert file.gap_until(far + PIECE_SIZE, size) == size
    assert file.free_until(PIECE_SIZE, size) == far
    assert sum(read) < MiB


def test_a_gap_is_found_where_the_file_system_tells_no_holes(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    file = pieces.make(HUB, DIGEST, 1024 * MiB)
    file.write(900 * MiB, DATA[:PIECE_SIZE])

    def refuse(*_: int) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "lseek", refuse)
    assert file.gap_until(0, 1024 * MiB) == 900 * MiB


def test_a_gap_does_not_end_before_it_begins(pieces: Pieces) -> None:
    """Where the middle of a piece is here, and the disk does not give it."""
    file = pieces.make(HUB, DIGEST, SIZE)
    keep(file, 0, PIECE_SIZE)
    assert file.gap_until(100, SIZE) == 100


def test_who_claims_has_the_pieces_before_the_first_that_is_claimed(pieces: Pieces) -> None:
    file = pieces.make(HUB, DIGEST, SIZE)
    first = file.claim(1 * MiB, 2 * MiB)
    second = file.claim(0, SIZE)
    assert first
    assert second
    assert (first.start, first.stop) == (1 * MiB, 2 * MiB)
    assert (second.start, second.stop) == (0, 1 * MiB)
    assert file.claim(0, 10) is None
    assert file.claim(1 * MiB + PIECE_SIZE, SIZE) is None
    assert file.free_until(2 * MiB, SIZE) == SIZE
    second.close()
    assert file.free_until(0, SIZE) == 1 * MiB
    first.close()
    assert not file.is_claimed()


def test_a_claim_that_is_shortened_leaves_the_rest_to_others(pieces: Pieces) -> None:
    file = pieces.make(HUB, DIGEST, SIZE)
    claim = file.claim(0, SIZE)
    assert claim
    claim.shorten(SIZE)
    assert file.claim(SIZE - 1, SIZE) is None
    claim.shorten(3 * PIECE_SIZE - 1)
    assert file.claim(2 * PIECE_SIZE, SIZE) is None
    other = file.claim(3 * PIECE_SIZE, SIZE)
    assert other
    assert (other.start, other.stop) == (3 * PIECE_SIZE, SIZE)
    claim.close()
    other.close()


def test_a_claim_goes_with_the_process_that_has_it(pieces: Pieces, layout: Layout) -> None:
    file = pieces.make(HUB, DIGEST, SIZE)
    source = f"""
import sys
from pathlib import Path
from typing import Any
from registry_cache.oci.digest import Digest
from registry_cache.store.layout import Layout
from registry_cache.store.piece_files import Pieces
file = Pieces(Layout.open(Path(sys.argv[1]))).open("{HUB}", Digest.parse("{DIGEST}"))
claim = file.claim(0, 1 << 20)
print("claimed", flush=True)
sys.stdin.readline()
"""
    with children(source, layout.root) as [child]:
        assert child.says() == "claimed"
        assert file.claim(0, 10) is None
        assert file.is_claimed()
        child.kill()
        claim = file.claim(0, 10)
    assert claim
    claim.close()


def test_pieces_that_were_replaced_cannot_be_claimed(pieces: Pieces) -> None:
    file = pieces.make(HUB, DIGEST, SIZE)
    pieces.discard(HUB, DIGEST)
    assert not file.has_name()
    assert file.claim(0, 10) is None
    pieces.make(HUB, DIGEST, SIZE)
    assert file.claim(0, 10) is None


def test_who_reads_keeps_the_file(pieces: Pieces) -> None:
    file = pieces.make(HUB, DIGEST, SIZE)
    keep(file, 0, 10)
    pieces.discard(HUB, DIGEST)
    assert file.read(0, 10) == DATA[:10]


@pytest.mark.parametrize("call", ["open", "pwrite", "ftruncate", "link"])
def test_a_full_disk_leaves_nothing_and_memory_takes_its_place(
    pieces: Pieces, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    before = descriptors()
    # The first open looks whether there are pieces.
    fail_at(monkeypatch, call, 2 if call == "open" else 1, 28, tmp_path)
    file = pieces.make(HUB, DIGEST, SIZE)
    monkeypatch.undo()
    assert (file.is_refused, file.lacks_room) == (True, True)
    keep(file, 0, 10)
    found = pieces.open(HUB, DIGEST)
    assert found
    assert found.read(0, 10) == DATA[:10]
    claim = found.claim(0, 10)
    assert claim
    assert (file.claim(0, 10), file.is_claimed()) == (None, True)
    claim.close()
    pieces.discard(HUB, DIGEST)
    assert (file.has_name(), pieces.open(HUB, DIGEST)) == (False, None)
    del file, found, claim
    assert [path for path in Path(layout.pieces).rglob("*") if path.is_file()] == []
    assert descriptors() == before


def test_who_makes_a_file_with_the_last_room_shares_it_with_who_finds_none(
    pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one would hold pieces on the disk and the other in memory, and have the same bytes sent to each."""
    pwrite, link, makers = os.pwrite, os.link, list[int]()
    is_linking, has_other = threading.Event(), threading.Event()

    def full(descriptor: int, data: Any, offset: int) -> int:
        makers.append(descriptor)
        if len(makers) > 1 and "/pieces/" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(descriptor, data, offset)

    def slow(*arguments: Any) -> None:
        is_linking.set()
        # The other one has so long to find no room, and to do without.
        has_other.wait(0.3)
        link(*arguments)

    def make_other() -> PieceFile:
        file = pieces.make(HUB, DIGEST, SIZE)
        has_other.set()
        return file

    monkeypatch.setattr(os, "pwrite", full)
    monkeypatch.setattr(os, "link", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(pieces.make, HUB, DIGEST, SIZE)
        is_linking.wait(10)
        second = pool.submit(make_other)
        one, other = first.result(10), second.result(10)
    claim = one.claim(0, SIZE)
    assert claim
    assert (other.claim(0, SIZE), one.is_refused, other.is_refused) == (None, False, False)
    claim.close()


def test_cleanup_evicts_pieces_that_nobody_fetches(pieces: Pieces, layout: Layout) -> None:
    file = pieces.make(HUB, DIGEST, SIZE)
    keep(file, 0, 10)
    [stored] = inventory.blobs_in_pieces(layout)
    claim = file.claim(0, PIECE_SIZE)
    assert claim
    assert not eviction.evict_pieces(layout, stored, lambda used, hex: True)
    claim.close()
    assert not eviction.evict_pieces(layout, stored, lambda used, hex: False)
    assert eviction.evict_pieces(layout, stored, lambda used, hex: True)
    assert inventory.blobs_in_pieces(layout) == []


def test_pieces_of_a_blob_that_is_whole_are_swept_up(store: Store) -> None:
    pieces = Pieces(store.layout)
    path = pieces.make(HUB, DIGEST, SIZE).path
    store.put(DATA)
    assert path in list(eviction.sweep(store.layout, 10**18, lambda: None))
    assert disk.stat(path) is None
