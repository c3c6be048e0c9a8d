"""Pins: the operator's promises not to evict.

If this file cannot be read, cleanup aborts instead of evicting pinned images.

<root>/pins.json      {"version": 1, "pins": [{"upstream", "image", "pinned_at"}], "unpinned": [the same]}
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from registry_cache.errors import RegistryError, StoreError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Repository, Tag
from registry_cache.oci.pattern import ImagePattern
from registry_cache.store import atomic_write, disk, locks, record_format
from registry_cache.store.last_use import Tick
from registry_cache.store.layout import Layout
from registry_cache.store.pin_list import Pin, PinList, parse_pins
from registry_cache.store.repositories import RepositoryFolder, repositories

__all__ = ["ANY_UPSTREAM", "Pin", "PinnedManifest", "Pins"]

# A change takes milliseconds; many may come at once, as when a fleet's images are pinned by a script.
LOCK_TIMEOUT_SECONDS = 5.0

# A pin with this as its upstream holds for all of them.
ANY_UPSTREAM = "*"


@dataclass(frozen=True, slots=True)
class PinnedManifest:
    """What a pin holds in the store: the manifest ``digest`` of ``repository``; ``tag`` where it is by a tag.

    ``blob``: the digest that its bytes lie under, another one if it is signed.
    """

    repository: str
    digest: Digest
    tag: str | None
    blob: Digest


class Pins:
    """The pins of one store."""

    def __init__(self, layout: Layout, clock: Callable[[], float] = time.time) -> None:
        self._layout = layout
        self._clock = clock

    def all(self) -> list[Pin]:
        """Return every pin, oldest first. Raises StoreError, also for a file that is no list of pins."""
        return list(self.read().pins)

    def read(self) -> PinList:
        """Return every pin, and what was unpinned recently. Raises StoreError, as ``all`` does."""
        with disk.store_errors("read the pins"):
            data = disk.read_whole(self._layout.pins)
        if data is None:
            return PinList()
        try:
            return parse_pins(json.loads(data))
        except (ValueError, KeyError, TypeError, RecursionError, RegistryError) as error:
            raise StoreError(
                f"{self._layout.pins} is damaged, and what was pinned would be evicted: repair or remove it"
            ) from error

    def holds_tag(self, name: FullName, tag: Tag) -> bool:
        """Return whether a pin is for this tag. Raises StoreError, as ``all`` does."""
        return any(
            pin.upstream in (name.upstream, ANY_UPSTREAM)
            and pin.image.matches_repository(str(name.repository))
            and pin.image.matches_tag(str(tag))
            for pin in self.all()
        )

    def add(self, pins: list[Pin]) -> list[Pin]:
        """Keep ``pins``; return those that are new. Raises StoreError."""
        with self._changing():
            changed, new = self.read().with_pins(pins)
            self._write(changed)
            return new

    def remove(self, pins: list[Pin]) -> list[Pin]:
        """Forget ``pins``; return those that existed. Raises StoreError."""
        with self._changing():
            changed, gone = self.read().without_pins({pin.key for pin in pins}, self._clock())
            self._write(changed)
            return gone

    def merge(self, theirs: PinList) -> PinList:
        """Take over what another node knows; return what is known now. Raises StoreError."""
        with self._changing():
            merged = self.read().merged(theirs).without_old(self._clock())
            self._write(merged)
            return merged

    def pinned_by(self, pin: Pin, tick: Tick = lambda: None) -> Iterator[PinnedManifest]:
        """Yield the manifests that are here now and that ``pin`` holds. Raises OSError."""
        if not pin.image.matches_many_repositories and pin.upstream != ANY_UPSTREAM:
            name = pin.image.repository
            folder = RepositoryFolder(self._layout.repository(FullName(pin.upstream, Repository(name))))
            yield from _pinned(name, folder, pin.image)
            return
        for folder in repositories(self._layout):
            tick()
            upstream, _, name = os.path.relpath(folder.path, self._layout.repositories).partition("/")
            if pin.upstream in (upstream, ANY_UPSTREAM) and pin.image.matches_repository(name):
                yield from _pinned(name, folder, pin.image)

    def digests(self, tick: Tick = lambda: None) -> Iterator[Digest]:
        """Yield what is pinned by digest, and manifests here that are pinned by a name. Raises StoreError, OSError."""
        for pin in self.all():
            if pin.image.digest:
                yield pin.image.digest
            else:
                yield from (held.digest for held in self.pinned_by(pin, tick))

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with disk.store_errors("change the pins"), contextlib.ExitStack() as holding:

            def hold() -> bool:
                with contextlib.ExitStack() as attempt:
                    if attempt.enter_context(locks.hold_if_free(self._layout.pins_lock)):
                        holding.push(attempt.pop_all())
                        return True
                return False

            if not locks.wait_for(hold, LOCK_TIMEOUT_SECONDS):
                raise StoreError("somebody else is changing the pins right now: try again")
            yield

    def _write(self, pins: PinList) -> None:
        data = json.dumps(pins.document(), indent=1).encode()
        with disk.store_errors("write the pins"):
            atomic_write.write_whole(self._layout.pins, data, synced=True)


def _pinned(repository: str, folder: RepositoryFolder, image: ImagePattern) -> Iterator[PinnedManifest]:
    if image.digest:
        if any(digest == image.digest for _, digest, _ in folder.manifests()):
            yield PinnedManifest(repository, image.digest, None, _blob(folder, image.digest))
        return
    for entry in folder.tags():
        tag = entry.name.removesuffix(".json")
        digest = record_format.tag_digest(disk.read_whole(entry.path)) if image.matches_tag(tag) else None
        if digest:
            yield PinnedManifest(repository, digest, tag, _blob(folder, digest))


def _blob(folder: RepositoryFolder, digest: Digest) -> Digest:
    return record_format.signed_digest(disk.read_whole(folder.manifest(digest, "json"))) or digest
