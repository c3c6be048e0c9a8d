"""A pass over a store: what goes and stays, a dry run, a second pass, a death at any step."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from registry_cache.errors import StoreError, StoreFull
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Repository
from registry_cache.oci.pattern import ImagePattern
from registry_cache.policy.eviction import Bounds
from registry_cache.store import inventory, locks
from registry_cache.store.download_status import DownloadStatus
from registry_cache.store.inventory import DiskSpace
from registry_cache.store.last_use import StoredBlob, UseSpreader
from registry_cache.store.piece_files import Pieces
from registry_cache.store.pins import Pin, Pins
from registry_cache.upkeep.cleanup import EXPIRED, TOO_LARGE, Cleanup
from tests.harness.cleanup_rig import DAY, HOUR, NOW, Shelf, killed_at, no_new_files, refusing, snapshot
from tests.harness.store_rig import APP, HUB, HUB_APP, HUB_OTHER, LATEST, OTHER

WEEK = timedelta(days=7)


def fill(shelf: Shelf, count: int, size: int = 1000) -> list[Digest]:
    """Layers of ``size`` bytes, the first used a day ago, each next one an hour less long ago."""
    data = [random.Random(number).randbytes(size) for number in range(count)]
    return [shelf.layer(each, ago=DAY - number * HOUR) for number, each in enumerate(data)]


def test_what_was_not_used_goes_with_all_its_names(shelf: Shelf) -> None:
    old = shelf.layer(b"old", ago=8 * DAY)
    image = shelf.image(old, tag="old", ago=8 * DAY)
    kept = shelf.layer(b"kept", ago=6 * DAY)

    result = shelf.clean(ttl=WEEK)

    assert shelf.has(image, old, kept) == [False, False, True]
    assert (result.blobs, result.evicted, result.names, result.complete) == (3, 2, 4, True)
    assert shelf.store.records.tags(HUB_APP) == []
    assert shelf.store.read(kept) == b"kept"
    assert shelf.store.files("locks") == set()


def test_a_hot_image_stays_though_its_layers_are_never_read(shelf: Shelf) -> None:
    layers = [shelf.layer(data, ago=30 * DAY) for data in (b"1", b"2")]
    image = shelf.image(*layers, ago=30 * DAY)
    index = shelf.index(image, tag="latest", ago=HOUR)

    shelf.clean(ttl=WEEK)

    assert shelf.has(index, image, *layers) == [True] * 4
    assert shelf.store.records.tag(HUB_APP, LATEST)


def test_a_shared_layer_stays_while_one_of_its_images_is_used(shelf: Shelf) -> None:
    shared, own = shelf.layer(b"shared", APP, OTHER, ago=30 * DAY), shelf.layer(b"own", ago=30 * DAY)
    gone = shelf.image(shared, own, ago=30 * DAY)
    kept = shelf.image(shared, repository=OTHER, ago=DAY)

    shelf.clean(ttl=WEEK)
    assert shelf.has(gone, own, kept, shared) == [False, False, True, True]
    assert shelf.store.read(shared, OTHER) == b"shared"

    shelf.clean(now=NOW + 8 * DAY, ttl=WEEK)
    assert shelf.has(kept, shared) == [False, False]


def test_what_was_used_by_a_clock_that_was_ahead_makes_room_first(shelf: Shelf) -> None:
    ahead = [shelf.layer(bytes([number]) * 1000, ago=-(400 - number) * DAY) for number in range(6)]
    pinned = shelf.image(ahead[0], ahead[1], tag="1", ago=-300 * DAY)
    Pins(shelf.layout).add([Pin(HUB, ImagePattern.parse("library/app:1"))])
    kept = [shelf.layer(bytes([number]) * 1000, ago=number * DAY) for number in range(10, 14)]

    planned = shelf.dry_run(max_size=9000)
    result = shelf.clean(max_size=9000)

    assert shelf.has(pinned, *ahead, *kept) == [True, True, True, *[True] * 2, *[False] * 2, *[True] * 4]
    assert (result.evicted, result.over, planned.evicted) == (2, 0, 2)
    # Nobody knows when that was, so not for its age.
    shelf.clean(ttl=WEEK)
    assert shelf.has(pinned, *ahead[:4], *kept) == [True] * 5 + [False] * 4


def test_nothing_bounds_nothing(shelf: Shelf) -> None:
    layer = shelf.layer(b"old", ago=9999 * DAY)
    result = shelf.clean()
    assert (shelf.has(layer), result.evicted) == ([True], 0)


def test_over_its_size_the_least_recently_used_go(shelf: Shelf) -> None:
    layers = fill(shelf, 20)
    result = shelf.clean(max_size=16_000)
    assert shelf.has(*layers) == [False] * 5 + [True] * 15
    assert (result.stored, result.evicted_bytes, result.over) == (20_000, 5000, 0)
    assert shelf.clean(max_size=16_000).evicted == 0


def test_whole_images_go_in_order_of_use(shelf: Shelf) -> None:
    first = [shelf.layer(bytes([number]) * 1000, ago=9 * DAY) for number in range(3)]
    second = [shelf.layer(bytes([number]) * 1000, ago=30 * DAY) for number in range(10, 13)]
    old, new = shelf.image(*first, ago=9 * DAY), shelf.image(*second, ago=DAY)

    shelf.clean(max_size=6000)

    assert shelf.has(old, *first) == [False] * 4
    assert shelf.has(new, *second) == [True] * 4


def test_what_is_reserved_for_an_upstream_stays_when_others_need_room(shelf: Shelf) -> None:
    old = fill(shelf, 10)
    image = shelf.image(*old[5:7], tag="1", ago=DAY)
    others = [shelf.store.put(random.Random(number).randbytes(1000)) for number in range(100, 120)]
    for each in others:
        shelf.store.blobs.grant(FullName("other.example", APP), each)
        shelf.used(each, HOUR)

    result = shelf.clean(max_size=20_000, reserved={HUB: 5500, "absent.example": 10**6})

    assert shelf.has(*old) == [False] * 5 + [True] * 5
    assert shelf.has(image) == [True]
    assert sum(shelf.has(*others)) <= 14
    assert (result.over, 5000 < result.reserved <= 5500) == (0, True)


def test_what_is_reserved_goes_when_it_was_not_used_for_long(shelf: Shelf) -> None:
    layers = fill(shelf, 3)
    shelf.clean(ttl=timedelta(hours=23, minutes=30), max_size=1, reserved={HUB: 10**6})
    assert shelf.has(*layers) == [False, True, True]


def test_what_is_being_downloaded_counts_as_far_as_it_has_come(shelf: Shelf) -> None:
    layers, announced = fill(shelf, 10), Digest.of(b"huge")
    claim = shelf.store.partials.claim(announced)
    assert claim
    with claim, claim.partial() as partial:
        claim.publish(DownloadStatus(FullName("evil.example", Repository("x")), NOW, size=10**12))
        partial.append(bytes(900))
        assert shelf.clean(max_size=10_900).evicted == 0
        assert shelf.has(*layers) == [True] * 10
        assert shelf.clean(max_size=10_800).evicted == 1


def test_a_copied_store_of_one_moment_does_not_go_as_a_whole(shelf: Shelf) -> None:
    layers = fill(shelf, 200)
    for layer in layers:
        shelf.used(layer, DAY)
    shelf.clean(max_size=190_000)
    assert 150 <= sum(shelf.has(*layers)) <= 181


def test_a_size_under_one_moments_images(shelf: Shelf) -> None:
    layers = fill(shelf, 3)
    shelf.clean(max_size=1)
    assert shelf.has(*layers) == [False] * 3


def test_so_much_of_the_disk_stays_free(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = fill(shelf, 10)
    monkeypatch.setattr(
        inventory, "disk_space", lambda path: DiskSpace(100_000, 20_000 - 1000 * sum(shelf.has(*layers)))
    )
    assert shelf.clean(min_free=10_000).evicted == 0
    assert shelf.clean(min_free=12_000).evicted == 3
    result = shelf.clean(min_free=50_000)
    assert (shelf.has(*layers), result.over > 0) == ([False] * 10, True)


def test_what_is_unfinished_counts(shelf: Shelf) -> None:
    [oldest, *_] = layers = fill(shelf, 10)
    Path(shelf.layout.partial(Digest.of(b"?"))).write_bytes(b"x" * 500)
    result = shelf.clean(max_size=10_000)
    assert result.stored == 10_500
    assert shelf.has(oldest, layers[1]) == [False, True]


def unfinished(shelf: Shelf, data: bytes, size: int, ago: float) -> Digest:
    digest = Digest.of(data)
    path = Path(shelf.layout.partial(digest))
    path.write_bytes(b"x" * size)
    os.utime(path, (NOW - ago, NOW - ago))
    return digest


def test_for_the_size_interrupted_downloads_go_as_blobs_do(shelf: Shelf) -> None:
    [oldest, *_] = layers = fill(shelf, 10)
    old, new = unfinished(shelf, b"old", 2000, ago=DAY + HOUR), unfinished(shelf, b"new", 2000, ago=HOUR)
    planned = shelf.dry_run(max_size=13_000)
    assert [(each.digest, each.what) for each in planned.candidates] == [(old, "interrupted download")]

    result = shelf.clean(max_size=13_000)

    assert (result.evicted, result.evicted_bytes, result.leftovers) == (0, 2000, 1)
    assert [os.path.exists(shelf.layout.partial(digest)) for digest in (old, new)] == [False, True]
    assert shelf.has(*layers) == [True] * 10
    assert shelf.clean(max_size=11_500).evicted == 2
    assert shelf.has(oldest, layers[2]) == [False, True]


def test_what_is_committed_while_a_pass_looks_is_counted_once(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it was missed, the ledger would be too small, and the size not held until the next pass."""
    fill(shelf, 3)
    digest = unfinished(shelf, b"new", 3000, ago=1.0)
    blobs = UseSpreader.blobs

    def committing(spread: UseSpreader, tick: Any) -> Iterator[StoredBlob]:
        yield from blobs(spread, tick)
        os.renames(shelf.layout.partial(digest), shelf.layout.blob(digest))

    lock = locks.try_lock(shelf.layout.lock(digest))
    assert lock
    with lock:
        monkeypatch.setattr(UseSpreader, "blobs", committing)
        assert shelf.clean().stored == 6000
        monkeypatch.setattr(UseSpreader, "blobs", blobs)
        assert shelf.clean().stored == 6000


def test_one_that_somebody_goes_on_with_stays(shelf: Shelf) -> None:
    digest = unfinished(shelf, b"?", 2000, ago=DAY)
    lock = locks.try_lock(shelf.layout.lock(digest))
    assert lock
    with lock:
        result = shelf.clean(max_size=1000)
    assert (result.evicted_bytes, os.path.exists(shelf.layout.partial(digest))) == (0, True)


def test_what_is_pinned_is_counted(shelf: Shelf) -> None:
    layer, _ = shelf.layer(b"x" * 1000, ago=DAY), shelf.layer(b"y" * 500, ago=DAY)
    shelf.image(layer, tag="1", ago=DAY)
    Pins(shelf.layout).add([Pin(HUB, ImagePattern.parse(f"{APP}:1"))])
    result = shelf.clean(max_size=1000)
    assert (result.stored - result.evicted_bytes, result.evicted) == (result.pinned, 1)
    assert result.pinned > 1000


@pytest.mark.parametrize("torn", [b"", b"{"])
def test_a_pinned_image_stays_whole_though_a_power_cut_tore_its_record(shelf: Shelf, torn: bytes) -> None:
    layers = [shelf.layer(data, ago=30 * DAY) for data in (b"x" * 1000, b"y" * 500)]
    image = shelf.image(*layers, tag="1", ago=30 * DAY)
    Path(shelf.layout.manifest(HUB_APP, image, "json")).write_bytes(torn)
    pin = Pin(HUB, ImagePattern.parse(f"{APP}:1"))
    Pins(shelf.layout).add([pin])
    assert shelf.dry_run(ttl=WEEK).evicted == shelf.clean(ttl=WEEK).evicted == 0
    assert shelf.has(image, *layers) == [True] * 3
    # To look into the manifest is no use of it.
    Pins(shelf.layout).remove([pin])
    assert shelf.clean(now=NOW + 8 * DAY, ttl=WEEK).evicted == 3


@pytest.mark.parametrize("by_tag", [True, False])
def test_a_pinned_image_of_schema_1_stays_whole(shelf: Shelf, by_tag: bool) -> None:
    layers = [shelf.layer(data, ago=30 * DAY) for data in (b"x" * 1000, b"y" * 500)]
    name, blob = shelf.signed(*layers, tag="1", ago=30 * DAY)
    pin = Pin(HUB, ImagePattern.parse(f"{APP}:1" if by_tag else f"{APP}@{name}"))
    Pins(shelf.layout).add([pin])
    assert shelf.dry_run(ttl=WEEK).evicted == shelf.clean(ttl=WEEK).evicted == 0
    assert shelf.has(blob, *layers) == [True] * 3
    Pins(shelf.layout).remove([pin])
    assert shelf.clean(now=NOW + 30 * DAY, ttl=WEEK).evicted == 3
    assert shelf.has(blob, *layers) == [False] * 3


def test_what_was_used_a_moment_ago_stays_whatever_the_size(shelf: Shelf) -> None:
    layer = shelf.layer(b"x" * 1000, ago=1)
    result = shelf.clean(max_size=10, ttl=timedelta(microseconds=1))
    assert (shelf.has(layer), result.evicted, result.over) == ([True], 0, 991)


def test_uses_in_the_near_future_are_the_newest(shelf: Shelf) -> None:
    future, old = shelf.layer(b"x" * 1000, ago=-20 * HOUR), shelf.layer(b"y" * 1000, ago=HOUR)
    shelf.clean(max_size=1500, ttl=WEEK)
    assert shelf.has(future, old) == [True, False]


def test_a_reader_keeps_what_is_evicted(shelf: Shelf) -> None:
    layer = shelf.layer(b"being read")
    reader = shelf.store.blobs.open(HUB_APP, layer)
    shelf.used(layer, 8 * DAY)
    assert reader
    assert shelf.clean(ttl=WEEK).evicted == 1
    assert reader.file.read_at(0, 100) == b"being read"
    assert shelf.store.read(layer) is None


def test_what_is_being_written_stays(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer", ago=8 * DAY)
    claim = shelf.store.partials.claim(layer)
    assert claim
    with claim:
        result = shelf.clean(ttl=WEEK)
    assert (shelf.has(layer), result.evicted, result.in_use) == ([True], 0, 1)


def test_a_dry_run_changes_nothing_and_tells_what_a_pass_would_do(shelf: Shelf) -> None:
    old, layer = shelf.layer(b"old", APP, ago=9 * DAY), shelf.layer(b"x" * 1000, OTHER, ago=30 * DAY)
    image = shelf.image(layer, repository=OTHER, ago=2 * DAY)
    kept = shelf.layer(b"kept", ago=HOUR)
    Path(shelf.root, ".leftover").write_bytes(b"")
    os.utime(Path(shelf.root, ".leftover"), (0, 0))
    before = snapshot(shelf.root)

    result = shelf.dry_run(ttl=WEEK, max_size=500)

    assert snapshot(shelf.root) == before
    assert [(each.digest, each.why) for each in result.candidates] == [
        (old, EXPIRED),
        *((each, TOO_LARGE) for each in sorted((image, layer), key=lambda each: each.hex)),
    ]
    assert result.candidates[0].what == f"blob of {HUB}/{APP}"
    assert {each.used for each in result.candidates[1:]} == {int(NOW - 2 * DAY) * 10**9}
    done = shelf.clean(ttl=WEEK, max_size=500)
    assert (done.evicted, done.evicted_bytes) == (result.evicted, result.evicted_bytes)
    assert shelf.has(kept) == [True]


def test_a_plan_names_the_oldest_of_many(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = fill(shelf, 10)
    monkeypatch.setattr("registry_cache.upkeep.cleanup.MOST_NAMED", 3)
    result = shelf.dry_run(ttl=timedelta(seconds=10))
    assert [each.digest for each in result.candidates] == layers[:3]
    assert result.evicted == 10


def test_a_second_pass_leaves_it_to_the_first(shelf: Shelf) -> None:
    layer = shelf.layer(b"old", ago=9 * DAY)
    with locks.LockFile(shelf.layout.cleanup_lock) as lock:
        assert lock.acquire()
        assert Cleanup(shelf.layout, Bounds(ttl=WEEK), NOW).run() is None
        assert shelf.has(layer) == [True]
        assert shelf.dry_run(ttl=WEEK).evicted == 1
    assert shelf.clean(ttl=WEEK).evicted == 1


@pytest.mark.parametrize("steps", [0, 5, 12, 20, 30])
def test_a_pass_that_is_out_of_time_is_finished_by_the_next(shelf: Shelf, steps: int) -> None:
    layers = fill(shelf, 10)
    left = iter(range(steps))
    cut = Cleanup(shelf.layout, Bounds(ttl=timedelta(hours=1)), NOW, lambda: next(left, None) is not None)

    assert not (cut.run() or cut.result).complete

    assert shelf.store.files("locks") == set()
    shelf.clean(ttl=timedelta(hours=1))
    assert shelf.has(*layers) == [False] * 10


def test_a_dry_run_may_run_out_of_time(shelf: Shelf) -> None:
    fill(shelf, 3)
    assert not Cleanup(shelf.layout, Bounds(ttl=WEEK), NOW, lambda: False).dry_run().complete


def test_progress_is_told(shelf: Shelf) -> None:
    fill(shelf, 3)
    told: list[tuple[str, int]] = []
    Cleanup(shelf.layout, Bounds(ttl=WEEK), NOW, progress=lambda doing, count, total: told.append((doing, count))).run()
    assert ("looking at blobs", 3) in told


@pytest.mark.parametrize(("name", "error"), [("unlink", StoreFull), ("scandir", StoreFull)])
def test_a_failing_disk_is_said(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, name: str, error: type[StoreError]
) -> None:
    shelf.layer(b"old", ago=9 * DAY)
    refusing(monkeypatch, name)
    with pytest.raises(error, match="could not clean up"):
        shelf.clean(ttl=WEEK)


def test_a_full_disk_is_made_room_on(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    old, held = shelf.layer(b"old", ago=9 * DAY), shelf.layer(b"held", ago=9 * DAY)
    claim = shelf.store.partials.claim(held)
    assert claim
    with claim:
        no_new_files(monkeypatch)
        result = shelf.clean(ttl=WEEK)
    assert (shelf.has(old, held), result.evicted, result.in_use) == ([False, True], 1, 1)


def two_images(shelf: Shelf) -> tuple[list[Digest], list[Digest]]:
    """What is going to go, and what stays; with a layer that both have, and leftovers."""
    shared = shelf.layer(b"shared", APP, OTHER, ago=30 * DAY)
    old = shelf.layer(b"old", ago=30 * DAY)
    gone = shelf.image(shared, old, tag="old", ago=30 * DAY)
    kept = shelf.index(shelf.image(shared, repository=OTHER, ago=30 * DAY), repository=OTHER, tag="new", ago=DAY)
    digest = Digest.of(b"interrupted")
    for path in (shelf.layout.partial(digest), shelf.layout.status(digest), shelf.layout.lock(digest)):
        Path(path).write_bytes(b"{}")
        os.utime(path, (0, 0))
    return [gone, old], [kept, shared]


def test_killed_at_any_step_it_has_lost_nothing_that_is_used(tmp_path: Path) -> None:
    number = steps = 0
    while number <= steps:
        shelf = Shelf(tmp_path / str(number))
        gone, kept = two_images(shelf)
        with killed_at(number, shelf.root) as count:
            shelf.clean(ttl=WEEK)
        steps = max(steps, count[0] if number == 0 else 0)

        assert all(shelf.has(*kept))
        assert shelf.store.read(kept[1], OTHER) == b"shared"
        assert shelf.store.records.tag(HUB_OTHER, type(LATEST).parse("new"))
        # Never a manifest without its layers: names go before bytes.
        assert shelf.has(gone[1])[0] or shelf.store.records.manifest(HUB_APP, gone[0]) is None

        shelf.clean(now=NOW + 2 * HOUR, ttl=WEEK)
        assert not any(shelf.has(*gone))
        assert shelf.store.files("partial") | shelf.store.files("locks") == set()
        number += 1
    assert steps > 15


def test_after_a_death_the_next_pull_brings_everything_back(tmp_path: Path) -> None:
    number, died = 1, True
    while died:
        shelf = Shelf(tmp_path / str(number))
        two_images(shelf)
        with killed_at(number, shelf.root) as count:
            shelf.clean(ttl=WEEK)
        died = count[0] >= number
        layer = shelf.layer(b"old")
        image = shelf.image(shelf.layer(b"shared"), layer, tag="old")
        assert shelf.store.records.manifest(HUB_APP, image)
        assert shelf.store.read(layer) == b"old"
        assert shelf.store.wrong_blobs() == []
        number += 1
    assert number > 20


def test_ranges_of_blobs_count_by_their_room_and_go_as_blobs_do(shelf: Shelf) -> None:
    pieces, size = Pieces(shelf.layout), 100 * 1024 * 1024
    old, new = Digest.of(b"old ranges"), Digest.of(b"new ranges")
    for digest, ago in ((old, 8 * DAY), (new, DAY)):
        file = pieces.make(HUB, digest, size)
        file.write(0, b"r" * 8192)
        moment = int((NOW - ago) * 10**9)
        os.utime(file.path, ns=(moment, moment))
    assert shelf.clean().stored < 100_000
    result = shelf.clean(ttl=WEEK)
    assert (pieces.open(HUB, old), pieces.open(HUB, new) is None, result.leftovers) == (None, False, 1)
