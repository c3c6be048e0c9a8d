"""What a node uses counts as used in the bucket, once a day and not for each use."""

import os
from datetime import UTC, datetime

from registry_cache.bucket.errors import ObjectRefused
from registry_cache.bucket.use import DAY_SECONDS, hand_on, is_due
from registry_cache.oci import object_keys
from tests.harness.store_rig import Store

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
