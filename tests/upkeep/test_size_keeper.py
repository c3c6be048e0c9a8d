"""The keeper: when it has a pass run, and for whom a download waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry_cache.errors import StoreFull
from registry_cache.oci.digest import Digest
from registry_cache.policy import eviction as policy
from registry_cache.policy.eviction import Bounds
from registry_cache.store import inventory
from registry_cache.store.inventory import DiskSpace
from registry_cache.store.layout import Layout
from registry_cache.store.size_ledger import SizeLedger
from registry_cache.upkeep import size_keeper
from registry_cache.upkeep.size_keeper import SizeKeeper, SpaceNeeded
from tests.harness.pull_rig import Clock
from tests.harness.waiting import eventually

SECONDS = 20.0
BLOB = Digest.of(b"new")


class Passes:
    """Stands in for the process of a cleanup: brings the sum to ``after``, once it may end; ``pinned`` of it is."""

    def __init__(self, layout: Layout) -> None:
        self.ledger = SizeLedger(layout)
        self.after = self.pinned = 0
        self.needs: list[SpaceNeeded] = []
        self.begun, self.may_end, self.ended = threading.Semaphore(0), threading.Event(), threading.Semaphore(0)
        self.may_end.set()

    def __call__(self, need: SpaceNeeded) -> int:
        self.needs.append(need)
        self.begun.release()
        assert self.may_end.wait(SECONDS)
        self.ledger.replace(self.after, self.ledger.position())
        self.ended.release()
        return self.pinned


@pytest.fixture
def passes(layout: Layout) -> Passes:
    return Passes(layout)


Make = Callable[..., SizeKeeper]


@pytest.fixture
def make(layout: Layout, passes: Passes) -> Make:
    return lambda **bounds: SizeKeeper(layout, Bounds(blob_percent=100, **bounds), passes)


def bring(keeper: SizeKeeper, size: int) -> None:
    """Have a whole blob of ``size`` bytes come at once."""
    keeper.incoming().arrived(size, is_whole=True)


def test_nobody_has_counted_what_is_held_to_a_size(make: Make, passes: Passes) -> None:
    bring(make(max_size=1000), 1)
    assert passes.ended.acquire(timeout=SECONDS)
    assert passes.needs == [SpaceNeeded()]


def test_within_its_bounds_nothing_is_done(make: Make, passes: Passes) -> None:
    passes.ledger.replace(0, 0)
    held = make(max_size=1000)
    bring(held, 1000)
    bring(make(), 10**9)
    assert passes.needs == []
    assert passes.ledger.total() == 1000 + 10**9


def test_over_its_size_a_pass_runs_and_a_download_goes_on(make: Make, passes: Passes) -> None:
    passes.ledger.replace(1000, 0)
    passes.may_end.clear()
    bring(make(max_size=1000), int(1000 * size_keeper.TOLERANCE))  # returns though the pass has not ended
    assert passes.begun.acquire(timeout=SECONDS)
    passes.may_end.set()
    assert passes.ended.acquire(timeout=SECONDS)


def test_far_over_its_size_a_download_waits_for_the_pass(make: Make, passes: Passes) -> None:
    passes.ledger.replace(1000, 0)
    passes.may_end.clear()
    with ThreadPoolExecutor(1) as pool:
        download = pool.submit(bring, make(max_size=1000), 500)
        assert passes.begun.acquire(timeout=SECONDS)
        assert not download.done()
        passes.may_end.set()
        download.result(SECONDS)
    assert passes.needs == [SpaceNeeded()]


def test_but_not_for_long(make: Make, passes: Passes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size_keeper, "WAIT_TIMEOUT_SECONDS", 0.05)
    passes.ledger.replace(1000, 0)
    passes.may_end.clear()
    bring(make(max_size=1000), 500)
    passes.may_end.set()
    assert passes.ended.acquire(timeout=SECONDS)


def test_what_came_too_late_for_a_pass_has_one_of_its_own(
    make: Make, passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(size_keeper, "WAIT_TIMEOUT_SECONDS", 0.05)
    passes.ledger.replace(1000, 0)
    passes.may_end.clear()
    held = make(max_size=1000)
    bring(held, 500)
    assert passes.begun.acquire(timeout=SECONDS)
    passes.after = 1500  # it has counted already, and finds nothing more to evict
    bring(held, 500)  # waits for as long as it may, and goes on
    passes.may_end.set()
    assert passes.ended.acquire(timeout=SECONDS)

    assert passes.begun.acquire(timeout=SECONDS)
    assert passes.ended.acquire(timeout=SECONDS)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


@pytest.fixture
def crowded(make: Make, passes: Passes, clock: Clock) -> SizeKeeper:
    """The keeper of a store of which more is pinned than has room, after its first pass."""
    passes.ledger.replace(2000, 0)
    passes.after = passes.pinned = 2000
    one = make(max_size=1000)
    bring(one, 1)
    eventually(lambda: passes.needs and not one._running)
    return one


def test_where_more_is_pinned_than_has_room_nobody_waits_for_passes_that_do_nothing(
    crowded: SizeKeeper, passes: Passes, clock: Clock
) -> None:
    clock.now += 1
    for _ in range(int(2000 * size_keeper.TOLERANCE)):
        bring(crowded, 1)
    assert len(passes.needs) == 1

    # What has come since can go.
    bring(crowded, 1)
    eventually(lambda: len(passes.needs) == 2)


def test_and_after_a_while_it_is_tried_again(crowded: SizeKeeper, passes: Passes, clock: Clock) -> None:
    clock.now += size_keeper._MOST_PAUSE_SECONDS + 1
    bring(crowded, 1)
    eventually(lambda: len(passes.needs) == 2)


def test_too_little_is_free(make: Make, passes: Passes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "disk_space", lambda _: DiskSpace(total=1000, free=99))
    bring(make(min_free=100), 1)
    assert passes.ended.acquire(timeout=SECONDS)


def test_what_would_never_fit_is_not_begun(make: Make, passes: Passes) -> None:
    passes.ledger.replace(0, 0)
    with pytest.raises(StoreFull, match=r"more than one blob may take, 1000 \(storage\.max_blob_percent\)"):
        make(max_size=1000).incoming().announced(1001)
    assert (passes.needs, passes.ledger.total()) == ([], 0)


def test_what_is_only_announced_makes_no_room(make: Make, passes: Passes) -> None:
    passes.ledger.replace(900, 0)
    keeper = make(max_size=1000)
    for _ in range(100):
        keeper.incoming().announced(999)
    assert (passes.needs, passes.ledger.total()) == ([], 900)


def test_bytes_are_counted_in_steps_as_they_come(make: Make, passes: Passes) -> None:
    passes.ledger.replace(0, 0)
    keeper = make(max_size=10**9)
    step = 10**6
    blob = keeper.incoming(500)
    totals = []
    for size in (500, step, step + 500, 2 * step, 2 * step + 499, 2 * step + 500):
        blob.arrived(size)
        totals.append(passes.ledger.total())
    assert totals == [0, 0, step, step, step, 2 * step]

    blob.arrived(2 * step + 501, is_whole=True)
    assert passes.ledger.total() == 2 * step + 1


@pytest.mark.parametrize(
    ("max_size", "step"),
    [(10**6, 64 * 1024), (10**9, 10**6), (10**12, 16 * 1024 * 1024), (None, 16 * 1024 * 1024)],
)
def test_steps_are_a_share_of_the_store(make: Make, max_size: int | None, step: int) -> None:
    assert make(max_size=max_size).step == step


def test_bytes_that_are_discarded_are_not_counted(make: Make, passes: Passes) -> None:
    passes.ledger.replace(0, 0)
    blob = make(max_size=10**9).incoming()
    blob.arrived(5 * 10**6)
    blob.ended(0)
    assert passes.ledger.total() == 0


def test_a_blob_that_becomes_too_large_ends_whatever_was_announced(layout: Layout, passes: Passes) -> None:
    passes.ledger.replace(0, 0)
    blob = SizeKeeper(layout, Bounds(max_size=10**6), passes).incoming()
    blob.announced(1)
    blob.arrived(500_000)
    with pytest.raises(StoreFull, match="600000 bytes are more than one blob may take, 500000"):
        blob.arrived(600_000)


def test_one_download_waits_no_longer_than_others_however_much_it_brings(
    make: Make, passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    timeout = 0.05
    monkeypatch.setattr(size_keeper, "WAIT_TIMEOUT_SECONDS", timeout)
    passes.ledger.replace(10**6, 0)
    passes.may_end.clear()
    keeper = make(max_size=10**6)
    wait = keeper._ended.wait

    def look(seconds: float) -> bool:
        looks[-1] += 1
        return wait(seconds)

    monkeypatch.setattr(keeper._ended, "wait", look)
    blob, began = keeper.incoming(), time.monotonic()
    for size in range(100_000, 900_000, 100_000):
        looks.append(0)
        blob.arrived(size)
        assert time.monotonic() - began >= timeout
    passes.may_end.set()
    # Once, and one look each time after it.
    assert looks[0] >= 1
    assert max(looks[1:]) <= 1


def test_a_full_disk(make: Make, passes: Passes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "disk_space", lambda _: DiskSpace(total=1000, free=10))
    passes.ledger.replace(900, 0)
    make().full(BLOB, 200)
    assert passes.ended.acquire(timeout=SECONDS)
    assert passes.needs == [SpaceNeeded(free=policy.emergency(200, 900, 10, 1000), blob=BLOB)]


def test_a_blob_that_is_refused_while_room_is_made_for_another(
    make: Make, passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "disk_space", lambda _: DiskSpace(total=1000, free=10))
    passes.ledger.replace(900, 0)
    passes.may_end.clear()
    keeper = make()
    keeper.full(BLOB, 200)
    assert passes.begun.acquire(timeout=SECONDS)
    other = Digest.of(b"other")
    keeper.full(other, 300)
    passes.may_end.set()
    for _ in range(2):
        assert passes.ended.acquire(timeout=SECONDS)
    assert [need.blob for need in passes.needs] == [BLOB, other]


def test_a_disk_that_is_full_though_there_is_room(make: Make, passes: Passes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota, or no inodes: told by its refusing again. Once may be news from before another worker made room."""
    monkeypatch.setattr(inventory, "disk_space", lambda _: DiskSpace(total=1000, free=500))
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    passes.ledger.replace(400, 0)
    one = make()
    one.full(BLOB, 200)
    clock.now += size_keeper._BELIEVE_AFTER_SECONDS / 2
    one.full(BLOB, 200)
    clock.now += size_keeper._FORGET_AFTER_SECONDS
    one.full(BLOB, 200)
    assert passes.needs == []
    clock.now += size_keeper._BELIEVE_AFTER_SECONDS
    one.full(BLOB, 200)
    assert passes.ended.acquire(timeout=SECONDS)
    # Of what is stored, and not of a disk that has room.
    assert passes.needs == [SpaceNeeded(less=20 + 200)]


@pytest.mark.parametrize(
    ("size", "freed"),
    [(200, 250), (0, 50), (455, 505), (456, 50)],  # five hundredths of the disk, and the blob if it is worth it
)
def test_how_much_is_freed_on_a_full_disk(size: int, freed: int) -> None:
    assert policy.emergency(size, stored=900, free=10, total=1000) == freed


def test_a_pass_that_cannot_be_started(layout: Layout) -> None:
    tried = threading.Semaphore(0)

    def fail(need: SpaceNeeded) -> int:
        tried.release()
        raise OSError(11, "Resource temporarily unavailable")

    one = SizeKeeper(layout, Bounds(max_size=1, blob_percent=100), fail)
    bring(one, 1)
    assert tried.acquire(timeout=SECONDS)


def test_a_cleanup_that_breaks_is_not_the_last(layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    SizeLedger(layout).replace(2000, 0)
    tried = threading.Semaphore(0)

    def break_down(_: SpaceNeeded) -> int:
        tried.release()
        raise ValueError("a defect")

    keeper = SizeKeeper(layout, Bounds(max_size=1000), break_down)
    keeper.start_pass()
    assert tried.acquire(timeout=SECONDS)
    eventually(lambda: "because of a defect" in caplog.text)

    def is_tried_again() -> bool:
        # The first may not have ended yet.
        keeper.start_pass()
        return tried.acquire(timeout=0.1)

    eventually(is_tried_again)
