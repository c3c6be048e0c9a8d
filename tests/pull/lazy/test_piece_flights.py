"""Pieces are fetched once, whoever wants them, and whatever upstream does; without a network."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry_cache.errors import NotFound, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.pull.lazy import piece_flights
from registry_cache.pull.lazy.piece_flights import MAX_RUN, MissingRun, PieceFlights, RangeIgnored
from registry_cache.pull.source import BlobSource
from registry_cache.store.layout import Layout
from registry_cache.store.piece_file import PIECE_SIZE
from registry_cache.store.piece_files import Pieces
from tests.harness.images import MiB, random_bytes
from tests.harness.pull_rig import SECONDS, Body, Script, Try
from tests.harness.store_rig import HUB, HUB_APP
from tests.harness.waiting import eventually

DATA = random_bytes(6 * MiB + 5, seed="flights")
DIGEST = Digest.of(DATA)


@pytest.fixture
def script() -> Script:
    return Script(DATA, chunk=50_000)


@pytest.fixture
def run(layout: Layout, script: Script) -> MissingRun:
    return MissingRun(Pieces(layout).make(HUB, DIGEST, len(DATA)), DIGEST, script.source())


def hold(run: MissingRun, script: Script) -> tuple[MissingRun, threading.Event]:
    """Return the same run of an upstream that answers once the gate is open."""
    gate = threading.Event()

    def ask(start: int, again: bool, stop: int | None = None) -> Body:
        assert gate.wait(SECONDS)
        return script.open(start, again, stop)

    return MissingRun(run.file, DIGEST, BlobSource(HUB_APP, ask)), gate


def test_a_range_lands_in_whole_pieces(run: MissingRun, script: Script) -> None:
    flights = PieceFlights()
    flight, is_new = flights.join(run, 100_000, 100_001)
    assert flight
    flight.wait_past(100_000)
    assert (is_new, script.starts) == (True, [100_000 // PIECE_SIZE * PIECE_SIZE])
    assert run.file.read(100_000, 100_001) == DATA[100_000:100_001]
    assert run.file.owner == "library/app"


def test_nobody_waits_behind_more_than_one_run(run: MissingRun, script: Script) -> None:
    flight, _ = PieceFlights().join(run, 0, len(DATA))
    assert flight
    assert flight.stop == MAX_RUN
    flight.wait_past(MAX_RUN - 1)


def test_who_comes_meanwhile_joins(run: MissingRun, script: Script) -> None:
    held, gate = hold(run, script)
    flights = PieceFlights()
    first, _ = flights.join(held, 0, 1 * MiB)
    second, is_new = flights.join(held, 500_000, 600_000)
    assert (second is first, is_new) == (True, False)
    # What is beside it has a flight of its own.
    third, is_new = flights.join(held, 1 * MiB, 2 * MiB)
    assert (third is first, is_new) == (False, True)
    gate.set()
    for flight in (first, third):
        assert flight
        flight.wait_past(flight.stop - 1)
    eventually(lambda: not run.file.is_claimed())
    assert run.file.read(0, 2 * MiB) == DATA[: 2 * MiB]


def test_ranges_that_clients_have_left_are_bounded_for_each_upstream(
    run: MissingRun, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(piece_flights, "MAX_LEFT", 2)
    monkeypatch.setattr(piece_flights, "LEFT_SECONDS", 0.0)
    held, gate = hold(run, script)
    flights = PieceFlights()
    first, _ = flights.join(held, 0, 10)
    second, _ = flights.join(held, 1 * MiB, 1 * MiB + 10)
    assert first
    assert second
    with pytest.raises(UpstreamUnavailable, match="2 ranges"):
        flights.refuse_too_many(HUB)
    flights.refuse_too_many("another.example")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(first.wait_past, 0)
        # Somebody waits for one of them.
        eventually(lambda: not first.is_left(time.monotonic()))
        flights.refuse_too_many(HUB)
        gate.set()
        waiting.result(SECONDS)
    second.wait_past(1 * MiB)
    eventually(lambda: not run.file.is_claimed())
    flights.wait_until_idle(SECONDS)
    flights.refuse_too_many(HUB)


def test_what_a_download_has_passed_is_not_fetched(run: MissingRun, script: Script) -> None:
    passing = MissingRun(run.file, DIGEST, run.source, lambda: 1 * MiB)
    flights = PieceFlights()
    assert flights.join(passing, 0, 10) == (None, False)
    assert not run.file.is_claimed()
    flight, _ = flights.join(passing, 1 * MiB, 1 * MiB + 10)
    assert flight
    flight.wait_past(1 * MiB)


def test_an_error_is_everybody_s_and_frees_the_pieces(run: MissingRun, script: Script) -> None:
    script.tries = [Try(refuse=NotFound("gone"))]
    flights = PieceFlights()
    flight, _ = flights.join(run, 0, 10)
    assert flight
    for _ in range(2):
        with pytest.raises(NotFound):
            flight.wait_for_answer()
    again, is_new = flights.join(run, 0, 10)
    assert again
    assert is_new
    again.wait_past(0)


def test_what_came_before_a_cut_is_kept(run: MissingRun, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry_cache.pull.source.MAX_FRUITLESS", 1)
    script.tries = [Try(cut=100_000), Try(refuse=UpstreamUnavailable("gone"))]
    flight, _ = PieceFlights().join(run, 0, 1 * MiB)
    assert flight
    with pytest.raises(UpstreamUnavailable):
        flight.wait_past(1 * MiB - 1)
    assert run.file.read(0, 1 * MiB) == DATA[: 100_000 // PIECE_SIZE * PIECE_SIZE]


@pytest.mark.parametrize("lie", [1, -1])
def test_another_size_is_no_answer(run: MissingRun, script: Script, lie: int) -> None:
    script.tries = [Try(lie=lie)]
    flight, _ = PieceFlights().join(run, 0, 10)
    assert flight
    with pytest.raises(RangeIgnored):
        flight.wait_for_answer()
    assert run.file.read(0, 10) == b""


def test_a_download_behind_readers_waits_until_they_have_their_ranges(run: MissingRun) -> None:
    landed = threading.Event()
    flights = PieceFlights()
    flights.wait_until_idle(0.0)
    flight, _ = flights.join(run, 0, 10, landed.set)
    assert flight
    flights.wait_until_idle(SECONDS)
    flight.wait_past(0)
    assert landed.wait(SECONDS)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    eventually(lambda: not any(each.name.startswith("pieces from") for each in threading.enumerate()))
