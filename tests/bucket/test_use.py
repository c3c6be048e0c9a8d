"""What a node uses counts as used in the bucket, once a day and not for each use."""

import os
from datetime import UTC, datetime
from pathlib import Path

from registry_cache.bucket.errors import ObjectRefused
from registry_cache.bucket.use import DAY_SECONDS, hand_on, is_due
from registry_cache.oci import object_keys
from registry_cache.oci.pattern import ImagePattern
from registry_cache.policy.shared_eviction import YOUNG_SECONDS
from registry_cache.store.pin_list import Pin
from registry_cache.store.pins import Pins
from tests.harness import cleanup_rig
from tests.harness.store_rig import APP, HUB, Store

NOW = 2_000_000_000.0


class Shelf:
    """A bucket that knows when each object was put."""

    def __init__(self, put_at: dict[str, float], too_large: str = "") -> None:
        self.put_at = put_at
        self.too_large = too_large
        self.renewed: list[str] = []

    def modified(self, key: str) -> datetime | None:
        return datetime.fromtimestamp(self.put_at[key], UTC) if key in self.put_at else None

    def renew(self, key: str) -> None:
        if key == self.too_large:
            raise ObjectRefused
        self.renewed.append(key)


def test_what_is_pinned_counts_as_used_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    here = cleanup_rig.Shelf(tmp_path / "store")
    layer, other = here.layer(b"a layer"), here.layer(b"another")
    image, unpinned = here.image(layer, tag="1"), here.image(other, tag="2")
    Pins(here.layout).add([Pin(HUB, ImagePattern.parse(f"{APP}:1"))])
    for digest in (layer, other, image, unpinned):
        os.utime(here.layout.blob(digest), (NOW - 9 * DAY_SECONDS, NOW - 9 * DAY_SECONDS))
    keys = [object_keys.blob(digest) for digest in (layer, image)]
    shelf = Shelf(dict.fromkeys([*keys, object_keys.blob(other), object_keys.blob(unpinned)], NOW - DAY_SECONDS))

    hand_on(here.layout, shelf, NOW)

    assert sorted(shelf.renewed) == sorted(keys)


def test_pins_that_cannot_be_read_hold_up_nothing_else(store: Store) -> None:
    used = store.put(b"used")
    os.utime(store.layout.blob(used), (NOW - 10, NOW - 10))
    Path(store.layout.pins).write_text("torn")
    key = object_keys.blob(used)
    shelf = Shelf({key: NOW - DAY_SECONDS})

    assert hand_on(store.layout, shelf, NOW) == 1


def test_what_is_used_is_told_before_it_may_be_evicted(store: Store) -> None:
    used = store.put(b"used")
    key = object_keys.blob(used)
    shelf = Shelf({key: NOW})
    for day in (0.4, 1.4 + 1 / 24, 2.4 + 2 / 24):
        now = NOW + day * DAY_SECONDS
        os.utime(store.layout.blob(used), (now - 10, now - 10))
        assert now - shelf.put_at[key] < YOUNG_SECONDS
        hand_on(store.layout, shelf, now)
        if shelf.renewed:
            shelf.put_at[key] = now


def test_only_what_was_used_here_and_is_old_there_is_renewed(store: Store) -> None:
    used, unused, fresh, absent, large = (store.put(bytes([number])) for number in range(5))
    for digest in (used, fresh, absent, large):
        os.utime(store.layout.blob(digest), (NOW - 10, NOW - 10))
    os.utime(store.layout.blob(unused), (NOW - 2 * DAY_SECONDS, NOW - 2 * DAY_SECONDS))
    old = NOW - 2 * DAY_SECONDS
    keys = {digest: object_keys.blob(digest) for digest in (used, unused, fresh, absent, large)}
    shelf = Shelf({keys[used]: old, keys[unused]: old, keys[fresh]: NOW - 10, keys[large]: old}, keys[large])

    assert is_due(store.layout, NOW)
    assert hand_on(store.layout, shelf, NOW) == 1

    assert shelf.renewed == [keys[used]]
    assert not is_due(store.layout, NOW + DAY_SECONDS - 1)
    assert is_due(store.layout, NOW + DAY_SECONDS + 1)
