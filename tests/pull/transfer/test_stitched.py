"""A download takes what is here in pieces, and asks for what is between them."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from registry_cache.errors import NotFound
from registry_cache.oci.digest import Digest
from registry_cache.policy import range_choice
from registry_cache.pull.transfer.piece_lookout import LOOK_EVERY
from registry_cache.pull.transfer.piece_reuse import PieceReuse
from registry_cache.pull.transfer.progress import TransferProgress
from registry_cache.pull.transfer.stitched import open_stitched
from registry_cache.pull.transfer.transfer import Transfer, TransferParts
from registry_cache.store.piece_file import PIECE_SIZE, PieceFile, data_offset
from registry_cache.store.piece_files import Pieces
from tests.harness.images import MiB, random_bytes
from tests.harness.pull_rig import Body, Script, Try, hurry
from tests.harness.store_rig import APP, HUB, OTHER, Store
from tests.harness.waiting import eventually

DATA = random_bytes(3 * MiB + 100, seed="stitched")
DIGEST = Digest.of(DATA)


@pytest.fixture
def script() -> Script:
    return Script(DATA, chunk=100_000)


@pytest.fixture
def file(store: Store) -> PieceFile:
    found = Pieces(store.layout).make(HUB, DIGEST, len(DATA))
    found.set_owner(str(APP))
    return found


def keep(file: PieceFile, first: int, last: int) -> None:
    file.write(first * PIECE_SIZE, DATA[first * PIECE_SIZE : last * PIECE_SIZE])


def download(store: Store, script: Script, **options: Any) -> TransferProgress:
    progress = TransferProgress(DIGEST)
    reuse = PieceReuse(DIGEST, script.source(), Pieces(store.layout), **options)
    Transfer(progress, script.source(), TransferParts(store.blobs, store.partials), reuse=reuse).run(lambda: True)
    return progress


def test_it_asks_for_what_is_between_the_pieces(store: Store, script: Script, file: PieceFile) -> None:
    keep(file, 10, 20)
    keep(file, 0, 2)
    assert download(store, script).committed
    assert script.starts == [2 * PIECE_SIZE, 20 * PIECE_SIZE]
    assert store.read(DIGEST) == DATA
    assert not file.has_name()


def test_what_is_all_here_is_asked_for_by_nobody(store: Store, script: Script, file: PieceFile) -> None:
    file.write(0, DATA)
    assert download(store, script).committed
    assert script.starts == []


def test_pieces_of_another_repository_cost_a_question(store: Store, script: Script) -> None:
    file = Pieces(store.layout).make(HUB, DIGEST, len(DATA))
    file.set_owner(str(OTHER))
    file.write(0, DATA)
    assert download(store, script).committed
    assert script.starts == [0]
    assert script.open_bodies == 0


@pytest.mark.parametrize(
    ("seconds_a_chunk", "first", "last", "goes_on_at"),
    [(0.0, 200, 300, 300 * PIECE_SIZE), (0.1, 40, 60, 60 * PIECE_SIZE), (0.1, 40, 42, 400_000)],
)
def test_pieces_that_come_ahead_of_a_request_without_an_end_stop_it(
    store: Store,
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
    seconds_a_chunk: float,
    first: int,
    last: int,
    goes_on_at: int,
) -> None:
    """The pieces come when the download has its first bytes, as where a client begins to read ranges then.

    On a slow line, a client that is not far ahead has pieces fetched as well. A block of reading may go beyond them.
    """
    really = Pieces.open
    looks, ticks = 0, count()

    def late(self: Pieces, upstream: str, digest: Digest) -> PieceFile | None:
        nonlocal looks
        looks += 1
        if looks == 2:
            file = self.make(upstream, digest, len(DATA))
            file.set_owner(str(APP))
            keep(file, first, last)
        return really(self, upstream, digest)

    def now() -> float:
        return seconds_a_chunk * next(ticks)

    monkeypatch.setattr(Pieces, "open", late)
    assert download(store, script, clock=now).committed
    assert script.starts == [0, goes_on_at]
    assert script.open_bodies == 0
    # Each costs a system call or some.
    assert seconds_a_chunk or looks * LOOK_EVERY <= 2 * len(DATA)
    assert store.read(DIGEST) == DATA


def test_wrong_pieces_go_and_do_not_count_against_upstream(
    store: Store, script: Script, file: PieceFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    file.write(0, bytes(PIECE_SIZE))
    script.tries = [Try(), Try(flip=5)]
    assert download(store, script).committed
    assert script.starts == [PIECE_SIZE, 0, 0]


def test_what_the_disk_does_not_give_comes_from_upstream(
    store: Store, script: Script, file: PieceFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    keep(file, 0, 100)
    really = os.pread

    def broken(descriptor: int, length: int, offset: int) -> bytes:
        if length > 64 * 1024 and descriptor not in (file.fileno(),) and offset > 4096 and "pieces" in path(descriptor):
            raise OSError(errno.EIO, "Input/output error")
        return really(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", broken)
    assert download(store, script).committed
    assert script.starts[0] == 0


def path(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


def test_who_reads_nothing_lets_readers_of_ranges_go_first(store: Store, script: Script, file: PieceFile) -> None:
    keep(file, 10, 20)
    asked: list[int] = []
    download(store, script, yield_to_readers=lambda: asked.append(len(script.starts)))
    assert asked == [0, 1]


LARGE = random_bytes(14 * MiB + 5, seed="spans")


@pytest.mark.parametrize(("requests", "peak"), [(1, 1), (4, 2)])
def test_spans_are_claimed_before_they_are_asked_for(
    store: Store, monkeypatch: pytest.MonkeyPatch, requests: int, peak: int
) -> None:
    """While one is read, the next is asked for, where more than one request at once may be."""
    monkeypatch.setattr(range_choice, "MAX_SPAN", 4 * MiB)
    script, digest = Script(LARGE, chunk=1 * MiB), Digest.of(LARGE)
    was_free: list[int] = []

    def ask(start: int, again: bool, stop: int | None = None) -> Body:
        file = Pieces(store.layout).open(HUB, digest)
        assert file
        was_free.append(file.free_until(start, start + PIECE_SIZE) - start)
        return script.open(start, again, stop)

    source = replace(script.source(), open=ask, requests=requests, expected=lambda: len(LARGE), can_be_overtaken=True)
    reuse = PieceReuse(digest, source, Pieces(store.layout))
    with closing(open_stitched(reuse, 0, again=False)) as body:
        assert (body.size, body.stop) == (len(LARGE), None)
        got = b""
        for chunk in body:
            got += chunk
            if len(got) == 3 * MiB:
                eventually(lambda: script.peak == peak)
        assert got == LARGE
    assert script.starts == [0, 4 * MiB, 8 * MiB, 12 * MiB]
    assert (was_free, script.peak, script.open_bodies) == ([0] * 4, peak, 0)


@pytest.mark.parametrize("is_bad", [False, True])
def test_what_is_behind_pieces_is_asked_for_before_they_are_read(store: Store, script: Script, is_bad: bool) -> None:
    """Or each of them would cost a round trip. If they then cannot be read, they are asked for."""
    file = Pieces(store.layout).make(HUB, DIGEST, len(DATA))
    file.set_owner(str(APP))
    keep(file, 100, 110)
    keep(file, 200, 210)
    reuse = PieceReuse(DIGEST, replace(script.source(), requests=4), Pieces(store.layout))
    with closing(open_stitched(reuse, 0, again=False)) as body:
        got = b""
        for chunk in body:
            got += chunk
            # Half of the first span was read before this chunk.
            if 50 * PIECE_SIZE + script.chunk < len(got) < 100 * PIECE_SIZE:
                eventually(lambda: script.starts == [0, 110 * PIECE_SIZE])
                if is_bad:
                    os.pwrite(file.fileno(), b"bad", data_offset(file.count) + 105 * PIECE_SIZE)
        assert got == DATA
    eventually(lambda: script.open_bodies == 0)
    again = [105 * PIECE_SIZE] if is_bad else []
    assert script.starts == [0, 110 * PIECE_SIZE, *again, *([110 * PIECE_SIZE] if is_bad else []), 210 * PIECE_SIZE]


def test_a_download_of_unknown_size_goes_on_within_a_piece(store: Store) -> None:
    script, digest, start = Script(LARGE, chunk=1 * MiB), Digest.of(LARGE), 1_000_001
    source = replace(script.source(), can_be_overtaken=True)
    with closing(open_stitched(PieceReuse(digest, source, Pieces(store.layout)), start, again=False)) as body:
        assert body.size == len(LARGE)
        assert b"".join(body) == LARGE[start:]
    assert script.open_bodies == 0


def test_pieces_of_another_size_are_given_up(store: Store) -> None:
    """They are found before anybody knows the size, by a download that goes on behind their end."""
    script, digest, start = Script(LARGE, chunk=1 * MiB), Digest.of(LARGE), 2 * MiB
    Pieces(store.layout).make(HUB, digest, 1 * MiB)
    source = replace(script.source(), can_be_overtaken=True)
    with closing(open_stitched(PieceReuse(digest, source, Pieces(store.layout)), start, again=False)) as body:
        assert b"".join(body) == LARGE[start:]
    assert script.open_bodies == 0
    assert Pieces(store.layout).open(HUB, digest) is None


def test_a_manifest_that_tells_another_size_is_not_believed(store: Store) -> None:
    script, digest = Script(LARGE, chunk=1 * MiB), Digest.of(LARGE)
    source = replace(script.source(), expected=lambda: len(LARGE) - 5, can_be_overtaken=True)
    with closing(open_stitched(PieceReuse(digest, source, Pieces(store.layout)), 0, again=False)) as body:
        assert body.size == len(LARGE)
        assert b"".join(body) == LARGE
    assert script.open_bodies == 0
    assert Pieces(store.layout).open(HUB, digest) is None


def test_what_upstream_refuses_leaves_no_pieces(store: Store) -> None:
    script, digest = Script(LARGE, [Try(refuse=NotFound("gone"))]), Digest.of(LARGE)
    source = replace(script.source(), expected=lambda: len(LARGE), can_be_overtaken=True)
    with pytest.raises(NotFound):
        open_stitched(PieceReuse(digest, source, Pieces(store.layout)), 0, again=False)
    assert Pieces(store.layout).open(HUB, digest) is None


@pytest.mark.parametrize("call", ["claim", "gap_until", "free_until", "here_until", "set_owner"])
@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_disk_that_fails_or_cannot_lock_costs_no_download(
    store: Store, monkeypatch: pytest.MonkeyPatch, call: str, after: int, is_known: bool
) -> None:
    script, digest = Script(LARGE, chunk=1 * MiB), Digest.of(LARGE)
    really, calls = getattr(PieceFile, call), []

    def fail(self: PieceFile, *arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) > after:
            raise OSError(errno.ENOLCK, "No locks available")
        return really(self, *arguments)

    monkeypatch.setattr(PieceFile, call, fail)
    expected = len(LARGE) if is_known else None
    source = replace(script.source(), requests=4, expected=lambda: expected, can_be_overtaken=True)
    with closing(open_stitched(PieceReuse(digest, source, Pieces(store.layout)), 0, again=False)) as body:
        assert body.size == len(LARGE)
        assert b"".join(body) == LARGE
    eventually(lambda: script.open_bodies == 0)
