"""A pass of verify: what it counts, how fast it reads, where it begins, what it says."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from registry_cache.errors import StoreFull
from registry_cache.oci.digest import Digest
from registry_cache.policy.share import Share
from registry_cache.store import locks
from registry_cache.upkeep import verify
from registry_cache.upkeep.read_throttle import RateLimit
from registry_cache.upkeep.report import json_document, text_lines
from registry_cache.upkeep.verify import Verify, VerifyResult, VerifyTask
from registry_cache.upkeep.verify_text import VerifyReport
from tests.harness.cleanup_rig import NOW, Shelf, cut, flip, refusing, snapshot
from tests.harness.store_rig import APP, OTHER


def task(**options: Any) -> VerifyTask:
    return VerifyTask(NOW, options.pop("day", 0), **options)


def run(shelf: Shelf, **options: Any) -> VerifyResult:
    result = Verify(shelf.layout, task(**options)).run()
    assert result
    return result


def told(result: VerifyResult | None, **options: Any) -> tuple[str, int, list[str]]:
    report = VerifyReport(task(**options), result)
    return report.state, report.exit_status, list(text_lines(report))


def damage(shelf: Shelf, count: int) -> list[Digest]:
    layers = [shelf.layer(b"layer %d" % number) for number in range(count)]
    for layer in layers:
        flip(shelf.layout.blob(layer))
    return layers


def test_a_sound_store(shelf: Shelf) -> None:
    shelf.image(shelf.layer(b"layer", APP, OTHER), Digest.of(b"not pulled"), tag="1")
    before = snapshot(shelf.root)
    state, status, lines = told(run(shelf))
    assert (state, status) == ("sound", 0)
    assert len(lines) == 1
    assert lines[0].startswith("re-hashed 2 files, ")
    assert lines[0].endswith(" B; no faults; 1 image is here in part, which is no fault")
    assert snapshot(shelf.root) == before


def test_what_is_damaged_is_named_and_repaired_if_that_is_wanted(shelf: Shelf) -> None:
    [layer] = damage(shelf, 1)
    name = f"flipped: blobs/sha256/{layer.hex[:2]}/{layer.hex}: hashes to sha256:"
    state, status, [line, summary] = told(run(shelf))
    assert (state, status) == ("damaged", 1)
    assert line.startswith(name)
    assert summary == "re-hashed 1 file, 7 B; 1 fault"
    state, status, [line, summary] = told(run(shelf, repair=True))
    assert (state, status) == ("repaired", 0)
    assert line.startswith(name)
    assert line.endswith("; repaired")
    assert summary == "re-hashed 1 file, 7 B; 1 fault, 1 repaired"
    assert told(run(shelf))[0] == "sound"


def test_one_fault_that_stays_is_enough_to_tell(shelf: Shelf) -> None:
    damage(shelf, 2)
    (shelf.root / "a\x1b[31mb").write_bytes(b"")
    state, status, [line, *_, summary] = told(run(shelf, repair=True))
    assert (state, status) == ("damaged", 1)
    assert line.startswith("foreign: a?[31mb: ")
    assert summary.endswith("; 3 faults, 2 repaired")


def test_a_second_repair_leaves_it_to_the_first(shelf: Shelf) -> None:
    damage(shelf, 1)
    with locks.LockFile(shelf.layout.verify_lock) as lock:
        assert lock.acquire()
        assert Verify(shelf.layout, task(repair=True)).run() is None
        assert run(shelf).counts.total() == 1
    assert told(None) == ("running", 0, ["another verify is repairing: nothing to do"])


def test_it_runs_beside_a_cleanup(shelf: Shelf) -> None:
    damage(shelf, 1)
    with locks.LockFile(shelf.layout.cleanup_lock) as lock:
        assert lock.acquire()
        assert run(shelf, repair=True).repaired == 1


def test_some_nights_see_everything(shelf: Shelf) -> None:
    layers = damage(shelf, 40)
    share = Share.parse("1/5")
    nights = [{each.digest for each in run(shelf, share=share, day=day).faults} for day in range(100, 105)]
    assert set.union(*nights) == set(layers)
    assert sum(map(len, nights)) == 40
    assert ", 1/5 of all; " in told(run(shelf, share=share), share=share)[2][-1]


@pytest.mark.parametrize("steps", range(1, 30, 4))
def test_a_pass_that_is_out_of_time(shelf: Shelf, steps: int) -> None:
    shelf.image(*(shelf.layer(b"%d" % number) for number in range(5)), tag="1")
    left = iter([True] * steps)
    result = Verify(shelf.layout, task(repair=True), lambda: next(left, False)).run()
    state, status, lines = told(result)
    assert (state, status) == (("stopped", 3) if result and not result.complete else ("sound", 0))
    assert lines[-1].endswith("; stopped by --max-time") is (status == 3)
    assert shelf.store.files("locks") == set()


def test_damage_is_told_though_there_was_no_time_for_all(shelf: Shelf) -> None:
    damage(shelf, 20)
    left = iter([True] * 30)
    result = Verify(shelf.layout, task(), lambda: next(left, False)).run()
    assert result
    assert not result.complete
    assert told(result)[:2] == ("damaged", 1)


def test_passes_that_are_cut_short_begin_elsewhere(shelf: Shelf) -> None:
    layers = damage(shelf, 40)
    seen = set()
    for day in range(60):
        steps = iter([True] * 40)
        result = Verify(shelf.layout, task(day=day), lambda: next(steps, False)).run()  # noqa: B023
        assert result
        seen |= {each.digest for each in result.faults}
    assert seen == set(layers)


def test_a_report_names_some_of_many(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "MOST_NAMED", 3)
    damage(shelf, 5)
    *named, more, summary = told(run(shelf))[2]
    assert (len(named), more) == (3, "and 2 more faults")
    assert summary.endswith("; 5 faults")


def test_the_document(shelf: Shelf) -> None:
    [layer] = damage(shelf, 1)
    cut(shelf.layout.blob(shelf.layer(b"cut")))
    found = json.loads(json.dumps(json_document(VerifyReport(task(repair=True), run(shelf, repair=True)))))
    assert (found["version"], found["state"], found["complete"], found["share"]) == (1, "repaired", True, "1/1")
    assert (found["files"], found["names"], found["repaired"]) == (2, 2, 2)
    assert {kind: count for kind, count in found["found"].items() if count} == {"flipped": 1, "size": 1}
    [fault] = [each for each in found["faults"] if each["kind"] == "flipped"]
    assert fault.pop("detail").startswith("hashes to sha256:")
    assert fault == {
        "kind": "flipped",
        "path": f"blobs/sha256/{layer.hex[:2]}/{layer.hex}",
        "digest": str(layer),
        "repaired": True,
        "remark": "",
    }
    assert json_document(VerifyReport(task(), None))["state"] == "running"


def test_progress_has_a_goal(shelf: Shelf) -> None:
    for size in (10, 20, 30):
        shelf.layer(b"x" * size)
    shown: list[tuple[str, int, int | None]] = []
    Verify(shelf.layout, task(), progress=lambda *at: shown.append(at)).run()
    goals = [each for each in shown if each[2] is not None]
    assert {goal for _, _, goal in goals} == {60}
    assert all(one[1] <= other[1] for one, other in pairwise(goals))


def test_a_failing_disk_is_said(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, "scandir", 24)
    with pytest.raises(StoreFull, match="could not look through the store"):
        run(shelf)


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 1
        self.now += seconds


def test_reading_keeps_its_pace() -> None:
    clock = Clock()
    pace = RateLimit(1000, lambda: None, lambda: clock.now, clock.sleep)
    for _ in range(100):
        pace.take(100)
    # Ten seconds' worth, of which the first is free.
    assert clock.now == pytest.approx(109)
    clock.now += 3600
    before = clock.now
    for _ in range(20):
        pace.take(100)
    # An hour's idleness is no credit for more than a second.
    assert clock.now - before == pytest.approx(1)


def test_without_a_bound_nothing_waits() -> None:
    clock = Clock()
    pace = RateLimit(None, lambda: None, lambda: clock.now, clock.sleep)
    pace.take(10**12)
    assert clock.now == 100


def test_who_waits_can_be_stopped() -> None:
    clock = Clock()

    def tick() -> None:
        if clock.now > 105:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        RateLimit(1, tick, lambda: clock.now, clock.sleep).take(10**9)
    assert clock.now < 106
