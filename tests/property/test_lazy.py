"""Any order of ranges and of the whole, any cut and any end of a process: the right bytes, and none fetched twice."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_cache.oci.digest import Digest
from registry_cache.pull.lazy.piece_flights import MissingRun, PieceFlights
from registry_cache.pull.transfer.piece_reuse import PieceReuse
from registry_cache.pull.transfer.progress import TransferProgress
from registry_cache.pull.transfer.transfer import Transfer, TransferParts
from registry_cache.store.piece_file import PIECE_SIZE
from registry_cache.store.piece_files import Pieces
from tests.harness.images import KiB, random_bytes
from tests.harness.pull_rig import Body, Script, Try, hurry
from tests.harness.store_rig import HUB, Store, open_store

SIZE = 400 * KiB + 77
DATA = random_bytes(SIZE, seed="any order")
DIGEST = Digest.of(DATA)

ranges = st.tuples(st.integers(0, SIZE - 1), st.integers(1, 60 * KiB))


@dataclass
class Counting(Script):
    """Counts how often each byte was sent."""

    sent: list[int] = field(default_factory=lambda: [0] * SIZE)

    def open(self, start: int, again: bool = False, stop: int | None = None) -> Body:
        body = super().open(start, again, stop)
        really = body.__iter__

        class Counted(Body):
            def __iter__(self) -> Iterator[bytes]:
                at = start
                for chunk in really():
                    for index in range(at, at + len(chunk)):
                        counts[index] += 1
                    at += len(chunk)
                    yield chunk

        counts = self.sent
        return Counted(b"", start, body.size, 1, None, body.close, body.stop)


def read(store: Store, script: Script, start: int, stop: int) -> bytes:
    """A range as it is read by a process of its own."""
    file = Pieces(store.layout).make(HUB, DIGEST, SIZE)
    run, flights, got = MissingRun(file, DIGEST, script.source()), PieceFlights(), bytearray()
    while start + len(got) < stop:
        at = start + len(got)
        data = file.read(at, stop)
        if not data:
            flight, _ = flights.join(run, at, file.gap_until(at, stop))
            if flight:
                flight.wait_past(at)
        got += data
    flights.wait_until_idle(10.0)
    return bytes(got)


def pull(store: Store, script: Script) -> None:
    """The whole, as a process of its own downloads it."""
    progress = TransferProgress(DIGEST)
    reuse = PieceReuse(DIGEST, script.source(), Pieces(store.layout))
    Transfer(progress, script.source(), TransferParts(store.blobs, store.partials), reuse=reuse).run(lambda: True)
    assert progress.committed


@settings(max_examples=60)
@given(
    before=st.lists(ranges, max_size=6),
    cuts=st.lists(st.one_of(st.none(), st.integers(0, 50 * KiB)), max_size=6),
    chunk=st.sampled_from([777, PIECE_SIZE, 30_000]),
)
def test_any_ranges_then_the_whole_cost_each_byte_once(
    before: list[tuple[int, int]], cuts: list[int | None], chunk: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        hurry(patched)
        patched.setattr("registry_cache.pull.source._FIRST_PAUSE", 0.0)
        store = open_store(Path(folder))
        script = Counting(DATA, [Try(cut=cut) for cut in cuts], chunk)
        for start, length in before:
            stop = min(SIZE, start + length)
            assert read(store, script, start, stop) == DATA[start:stop]
            assert read(store, script, start, stop) == DATA[start:stop]
        pull(store, script)
        # A cut ends what a request sent; what came of it stays.
        assert script.sent == [1] * SIZE
        assert store.read(DIGEST) == DATA
        assert not store.files("pieces")
        assert script.open_bodies == 0
