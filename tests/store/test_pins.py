"""Pins: kept, taken back, and what they hold."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Tag
from registry_cache.oci.pattern import ImagePattern
from registry_cache.store import locks
from registry_cache.store import pins as pins_module
from registry_cache.store.pins import ANY_UPSTREAM, Pin, Pins
from tests.harness.cleanup_rig import DAY, NOW, Shelf
from tests.harness.pull_rig import SECONDS
from tests.harness.store_rig import APP, HUB, HUB_APP, OTHER


def pin(image: str, upstream: str = HUB, at: float = 1.0) -> Pin:
    return Pin(upstream, ImagePattern.parse(image), at)


def test_pins_are_kept_once_in_order(shelf: Shelf) -> None:
    pins = Pins(shelf.layout)
    assert pins.all() == []
    assert pins.add([pin("a:1"), pin("b:*", at=2.0), pin("a:1", at=3.0)]) == [pin("a:1"), pin("b:*", at=2.0)]
    assert pins.add([pin("b:*", at=9.0)]) == []
    assert pins.add([pin("a:1", "ghcr.io")]) == [pin("a:1", "ghcr.io")]
    assert [each.key for each in Pins(shelf.layout).all()] == [(HUB, "a:1"), (HUB, "b:*"), ("ghcr.io", "a:1")]
    assert pins.remove([pin("a:1"), pin("never:1")]) == [pin("a:1")]
    assert [each.key for each in pins.all()] == [(HUB, "b:*"), ("ghcr.io", "a:1")]
    assert shelf.store.files("locks") == set()


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "[" * 100_000, '{"pins": [1]}', '{"pins": [{"upstream": "a/b", "image": "x:1", "pinned_at": 1}]}',
     '{"pins": [{"upstream": "..", "image": "x:1", "pinned_at": 1}]}',
     '{"pins": [{"upstream": "docker.io", "image": "../x:1", "pinned_at": 1}]}', ""],
)  # fmt: skip
def test_a_damaged_list_is_an_error_and_evicts_nothing(shelf: Shelf, content: str) -> None:
    old = shelf.layer(b"old", ago=30 * DAY)
    Path(shelf.layout.pins).write_text(content)
    with pytest.raises(StoreError, match=r"pins\.json is damaged"):
        Pins(shelf.layout).all()
    with pytest.raises(StoreError, match=r"pins\.json is damaged"):
        shelf.clean(max_size=1)
    assert shelf.has(old) == [True]


def test_who_changes_them_for_too_long(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins_module, "LOCK_TIMEOUT_SECONDS", 0.05)
    with locks.LockFile(shelf.layout.pins_lock) as lock:
        assert lock.acquire()
        with pytest.raises(StoreError, match="try again"):
            Pins(shelf.layout).add([pin("a:1")])
    assert Pins(shelf.layout).add([pin("a:1")]) == [pin("a:1")]


def test_many_who_change_them_at_once(shelf: Shelf) -> None:
    names = [f"a:{number}" for number in range(8)]
    begin = threading.Barrier(len(names))

    def add(name: str) -> None:
        begin.wait(SECONDS)
        for again in range(3):
            Pins(shelf.layout).add([pin(f"{name}{again}")])

    with ThreadPoolExecutor(len(names)) as pool:
        for added in [pool.submit(add, name) for name in names]:
            added.result(SECONDS)
    assert len(Pins(shelf.layout).all()) == 3 * len(names)
    assert shelf.store.files("locks") == set()


def test_what_pins_hold(shelf: Shelf) -> None:
    one = shelf.image(shelf.layer(b"1"), tag="1.0")
    two = shelf.image(shelf.layer(b"2"), tag="2.0")
    other = shelf.image(shelf.layer(b"3", OTHER), repository=OTHER, tag="1.0")
    pins = Pins(shelf.layout)

    def held(image: str, upstream: str = HUB) -> set[tuple[str, Digest, str | None]]:
        return {(each.repository, each.digest, each.tag) for each in pins.pinned_by(pin(image, upstream))}

    assert held(f"{APP}:1.0") == {(str(APP), one, "1.0")}
    assert held(f"{APP}:*") == {(str(APP), one, "1.0"), (str(APP), two, "2.0")}
    assert held("**:1.*") == {(str(APP), one, "1.0"), (str(OTHER), other, "1.0")}
    assert held(f"{APP}@{two}") == {(str(APP), two, None)}
    assert held(f"**@{other}", ANY_UPSTREAM) == {(str(OTHER), other, None)}
    assert held("**:*", "ghcr.io") == held(f"{APP}:3.0") == held("never/here:1") == set()


@pytest.mark.parametrize(
    ("image", "upstream", "holds"),
    [
        (f"{APP}:1.0", HUB, True),
        (f"{APP}:1.*", HUB, True),
        ("**:*", ANY_UPSTREAM, True),
        (f"{APP}:1", HUB, False),
        (f"{OTHER}:1.0", HUB, False),
        (f"{APP}:1.0", "ghcr.io", False),
        (f"{APP}@sha256:{'0' * 64}", HUB, False),
    ],
)
def test_which_tags_are_pinned(shelf: Shelf, image: str, upstream: str, holds: bool) -> None:
    Pins(shelf.layout).add([pin("never/here:1"), pin(image, upstream)])
    assert Pins(shelf.layout).holds_tag(HUB_APP, Tag("1.0")) is holds


@pytest.mark.parametrize("limits", [{"max_size": 1}, {"ttl": timedelta(days=7)}])
def test_what_is_pinned_is_never_evicted(shelf: Shelf, limits: dict[str, Any]) -> None:
    layer, own = shelf.layer(b"layer", ago=30 * DAY), shelf.layer(b"own", ago=30 * DAY)
    image = shelf.image(layer, tag="1", ago=30 * DAY)
    index = shelf.index(image, tag="pinned", ago=30 * DAY)
    gone = shelf.image(own, tag="2", ago=30 * DAY)
    by_digest = shelf.layer(b"by digest", ago=30 * DAY)
    Pins(shelf.layout).add([pin(f"{APP}:pinned"), pin(f"**@{by_digest}", ANY_UPSTREAM)])

    planned = {each.digest for each in shelf.dry_run(**limits).candidates}
    assert planned == {own, gone}
    shelf.clean(**limits)

    assert shelf.has(index, image, layer, by_digest) == [True] * 4
    assert shelf.has(gone, own) == [False, False]
    assert {str(tag) for tag in shelf.store.records.tags(HUB_APP)} == {"1", "pinned"}

    Pins(shelf.layout).remove(Pins(shelf.layout).all())
    shelf.clean(now=NOW + 60 * DAY, **limits)
    assert shelf.has(index, image, layer, by_digest) == [False] * 4
