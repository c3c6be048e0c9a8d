"""One question at a time; whoever comes while it is asked shares its outcome, whoever comes later asks anew."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import json
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from registry_cache.errors import RegistryError, TooManyRequests, UpstreamTimeout
from registry_cache.pull import single_flight
from registry_cache.pull.single_flight import MachineFlights, NoteFormat, TimeLimit
from registry_cache.store import locks
from registry_cache.store.layout import Layout
from tests.harness.pull_rig import SECONDS, Question, flying, holding
from tests.harness.store_rig import children, descriptors
from tests.harness.waiting import eventually

KEY = "tag docker.io/library/app:latest"

Record = Mapping[str, object]
NOTE: NoteFormat[Record] = NoteFormat(dict, dict)

# Asks when told to; its work waits for a line, and says what came out.
ASK = """
import json, sys
from pathlib import Path
from registry_cache.errors import RegistryError, TooManyRequests
from registry_cache.pull.single_flight import MachineFlights, NoteFormat
from registry_cache.store.layout import Layout
flights = MachineFlights(Layout(Path(sys.argv[1])))
def work():
    print("working", flush=True)
    told = sys.stdin.readline().strip()
    if told == "fail":
        raise TooManyRequests("0 of 100 left", retry_after=9, detail={"a": 1})
    if told == "break":
        raise ZeroDivisionError(told)
    return {"told": told}
sys.stdin.readline()
print("asking", flush=True)
while True:
    try:
        print(json.dumps(flights.run(sys.argv[2], work, NoteFormat(dict, dict))), flush=True)
    except RegistryError as error:
        print(json.dumps(error.to_record()), flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
    sys.stdin.readline()
"""


def came(
    flights: MachineFlights, count: int, question: Callable[[], Record], pool: ThreadPoolExecutor
) -> list[Future[Record]]:
    """Start so many who ask, and return when all wait or work."""
    arrived = threading.Barrier(count + 1, timeout=SECONDS)

    def ask() -> Record:
        arrived.wait()
        return flights.run(KEY, question, NOTE)

    asked = [pool.submit(ask) for _ in range(count)]
    arrived.wait()
    return asked


def test_a_failure_leaves_nothing_for_the_collector(tmp_path: Path) -> None:
    left: list[weakref.ref[object]] = []

    def fail() -> Record:
        held = threading.Event()
        left.append(weakref.ref(held))
        raise UpstreamTimeout("silent")

    flights = MachineFlights(Layout(tmp_path))
    gc.disable()
    try:
        with contextlib.suppress(UpstreamTimeout):
            flights.run(KEY, fail, NOTE)
        eventually(lambda: left[0]() is None)
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        ("hello", {"told": "hello"}),
        ("fail", TooManyRequests("0 of 100 left", retry_after=9, detail={"a": 1}).to_record()),
    ],
)
def test_processes_share_one_outcome(layout: Layout, told: str, outcome: Record) -> None:
    with children(ASK, layout.root, KEY, count=3) as (first, *others):
        first.hears()
        assert [first.says(), first.says()] == ["asking", "working"]
        for other in others:
            other.hears()
            assert other.says() == "asking"
        mine = MachineFlights(layout)
        with ThreadPoolExecutor(1) as pool:
            asked = came(mine, 1, lambda: {"told": "not me"}, pool)
            # All three are in the queue once they hold the file open; a moment more, and they have tried it.
            eventually(lambda: all(holding(other.process.pid, layout.flight(KEY)) for other in others))
            eventually(lambda: holding(os.getpid(), layout.flight(KEY)))
            first.hears(told)
            for child in (first, *others):
                assert json.loads(child.says()) == outcome
            error = asked[0].exception(SECONDS)
            assert (error.to_record() if isinstance(error, RegistryError) else asked[0].result()) == outcome


def test_a_defect_in_another_process_is_its_own(layout: Layout) -> None:
    with children(ASK, layout.root, KEY) as (first,):
        first.hears()
        assert [first.says(), first.says()] == ["asking", "working"]
        with ThreadPoolExecutor(1) as pool:
            asked = came(MachineFlights(layout), 1, lambda: {"told": "me"}, pool)
            eventually(lambda: holding(os.getpid(), layout.flight(KEY)))
            first.hears("break")
            assert first.says() == "ZeroDivisionError"
            assert asked[0].result(SECONDS) == {"told": "me"}


def test_a_killed_holder_blocks_nobody(layout: Layout) -> None:
    with children(ASK, layout.root, KEY) as (holder,):
        holder.hears()
        assert [holder.says(), holder.says()] == ["asking", "working"]
        with ThreadPoolExecutor(1) as pool:
            asked = came(MachineFlights(layout), 1, lambda: {"told": "me"}, pool)
            eventually(lambda: holding(os.getpid(), layout.flight(KEY)))
            assert not asked[0].done()
            holder.kill()
            assert asked[0].result(SECONDS) == {"told": "me"}
    assert os.listdir(os.path.dirname(layout.flight(KEY))) == []


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"[" * 100_000,
        b'{"finished_at": 100.5, "record": 5, "failed": null}',
        b'{"finished_at": "x", "record": {}, "failed": null}',
        b'{"finished_at": 1e10}',
        b'{"finished_at": 99.0, "record": {"told": "old"}, "failed": null}',
        b'{"finished_at": 1e18, "record": {"told": "from the future"}, "failed": null}',
    ],
)
def test_a_note_that_is_torn_old_or_from_the_future_is_none(layout: Layout, note: bytes) -> None:
    """As a holder leaves it that died between its note and the end."""
    Path(layout.flight(KEY)).write_bytes(note)
    assert MachineFlights(layout, clock=lambda: 100.0).run(KEY, lambda: {"told": "me"}, NOTE) == {"told": "me"}
    assert os.listdir(os.path.dirname(layout.flight(KEY))) == []


def test_a_note_of_one_who_died_right_after_it_is_good_for_those_who_waited(layout: Layout) -> None:
    note = b'{"finished_at": 100.5, "record": {"told": "before I died"}, "failed": null}'
    Path(layout.flight(KEY)).write_bytes(note)
    clock = iter([100.0, 101.0, 102.0, 103.0])
    found = MachineFlights(layout, clock=lambda: next(clock)).run(KEY, lambda: {"told": "me"}, NOTE)
    assert found == {"told": "before I died"}


@pytest.mark.parametrize("call", ["flock", "open"])
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EIO, errno.ENOSPC, errno.EACCES])
def test_a_disk_that_takes_no_lock_costs_no_pull(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl if call == "flock" else os, call, refuse)
    before = descriptors()
    question = Question({"told": "me"})
    flights = MachineFlights(layout)
    with ThreadPoolExecutor(4) as pool:
        asked = came(flights, 4, question, pool)
        eventually(lambda: flying(flights._here, KEY) == 3)
        question.gate.set()
        assert [future.result(SECONDS) for future in asked] == [{"told": "me"}] * 4
    assert question.asked == 1
    assert not descriptors() - before


def test_a_disk_that_takes_no_note_costs_no_pull(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", refuse)
    assert MachineFlights(layout).run(KEY, lambda: {"told": "me"}, NOTE) == {"told": "me"}
    assert os.listdir(os.path.dirname(layout.flight(KEY))) == []


def test_waiting_is_bounded(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_flight, "HOLDER_TIMEOUT_SECONDS", 0.05)
    before = descriptors()
    held = locks.try_lock(layout.flight(KEY))
    assert held is not None
    with held:
        flights = MachineFlights(layout)
        with pytest.raises(UpstreamTimeout, match="still asking"):
            flights.run(KEY, dict, NOTE)
    assert flights.run(KEY, lambda: {"a": 1}, NOTE) == {"a": 1}
    assert not descriptors() - before


def test_waiting_for_a_thread_is_bounded(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_flight, "HOLDER_TIMEOUT_SECONDS", 0.05)
    flights, question = MachineFlights(layout), Question[Record]({})
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(flights.run, KEY, question, NOTE)
        assert question.begun.wait(SECONDS)
        with pytest.raises(UpstreamTimeout):
            flights.run(KEY, dict, NOTE)
        question.gate.set()
        assert held.result(SECONDS) == {}


def test_who_comes_late_does_not_wait_as_long_again(layout: Layout) -> None:
    flights, question = MachineFlights(layout), Question({"told": "late"})
    flights.start(KEY, question, NOTE)
    assert question.begun.wait(SECONDS)
    flights._here._flights[KEY].began -= 3
    with pytest.raises(UpstreamTimeout, match="no answer in 3 s when we asked"):
        flights.run(KEY, dict, NOTE, TimeLimit(3, "asked"))
    with ThreadPoolExecutor(1) as pool:
        patient = pool.submit(flights.run, KEY, dict, NOTE)
        eventually(lambda: flying(flights._here, KEY) == 1)
        question.gate.set()
        assert patient.result(SECONDS) == {"told": "late"}


def test_work_that_nobody_waits_for_is_done_once(layout: Layout) -> None:
    flights, question = MachineFlights(layout), Question[Record](TooManyRequests("later"))
    for _ in range(3):
        flights.start(KEY, question, NOTE)
    question.gate.set()
    eventually(lambda: flights._here._flights == {})
    assert question.asked == 1
    assert os.listdir(os.path.dirname(layout.flight(KEY))) == []


def test_a_clock_that_is_put_back_meanwhile_asks_nothing_anew(layout: Layout) -> None:
    moments = iter([1000.0])
    flights, asked = MachineFlights(layout, lambda: next(moments, 500.0)), []

    def work() -> Record:
        asked.append(1)
        return {"told": "once"}

    assert flights.run(KEY, work, NOTE, TimeLimit(SECONDS, "asked")) == {"told": "once"}
    assert len(asked) == 1
