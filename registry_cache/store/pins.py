"""Pins: the operator's promises not to evict.

If this file cannot be read, cleanup aborts instead of evicting pinned images.

<root>/pins.json      {"version": 1, "pins": [{"upstream", "image", "pinned_at"}]}
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

from registry_cache.errors import RegistryError, StoreError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Repository, Tag
from registry_cache.oci.pattern import ImagePattern
from registry_cache.store import atomic_write, disk, locks, record_format
from registry_cache.store.last_use import Tick
from registry_cache.store.layout import Layout
from registry_cache.store.repositories import RepositoryFolder, repositories

_VERSION = 1

# A pin with this as its upstream holds for all of them.
ANY_UPSTREAM = "*"


@dataclass(frozen=True, slots=True)
class Pin:
    """A pin of ``image`` at ``upstream``; ``pinned_at`` in seconds since the epoch. Equal whenever it was made."""

    upstream: str
    image: ImagePattern
    pinned_at: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        return self.upstream, str(self.image)


@dataclass(frozen=True, slots=True)
class PinnedManifest:
    """What a pin holds in the store: the manifest ``digest`` of ``repository``; ``tag`` where it is by a tag."""

    repository: str
    digest: Digest
    tag: str | None


class Pins:
    """The pins of one store."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def all(self) -> list[Pin]:
        """Return every pin, oldest first. Raises StoreError, also for a file that is no list of pins."""
        with disk.store_errors("read the pins"):
            data = disk.read_whole(self._layout.pins)
        if data is None:
            return []
        try:
            return [_parse(record) for record in json.loads(data)["pins"]]
        except (ValueError, KeyError, TypeError, RecursionError, RegistryError) as error:
            raise StoreError(
                f"{self._layout.pins} is damaged, and what was pinned would be evicted: repair or remove it"
            ) from error

    def holds_tag(self, upstream: str, repository: Repository, tag: Tag) -> bool:
        """Return whether a pin is for this tag. Raises StoreError, as ``all`` does."""
        return any(
            pin.upstream in (upstream, ANY_UPSTREAM)
            and pin.image.matches_repository(str(repository))
            and pin.image.matches_tag(str(tag))
            for pin in self.all()
        )

    def add(self, pins: list[Pin]) -> list[Pin]:
        """Keep ``pins``; return those that are new. Raises StoreError."""
        with self._changing():
            known = self.all()
            keys = {pin.key for pin in known}
            new = []
            for pin in pins:
                if pin.key not in keys:
                    keys.add(pin.key)
                    new.append(pin)
            self._write([*known, *new])
            return new

    def remove(self, pins: list[Pin]) -> list[Pin]:
        """Forget ``pins``; return those that existed. Raises StoreError."""
        with self._changing():
            known, keys = self.all(), {pin.key for pin in pins}
            self._write([pin for pin in known if pin.key not in keys])
            return [pin for pin in known if pin.key in keys]

    def pinned_by(self, pin: Pin, tick: Tick = lambda: None) -> Iterator[PinnedManifest]:
        """Yield the manifests that are here now and that ``pin`` holds. Raises OSError."""
        if not pin.image.matches_many_repositories and pin.upstream != ANY_UPSTREAM:
            name = pin.image.repository
            yield from _pinned(name, RepositoryFolder(self._layout.repository(pin.upstream, name)), pin.image)
            return
        for folder in repositories(self._layout):
            tick()
            upstream, _, name = os.path.relpath(folder.path, self._layout.repositories).partition("/")
            if pin.upstream in (upstream, ANY_UPSTREAM) and pin.image.matches_repository(name):
                yield from _pinned(name, folder, pin.image)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with disk.store_errors("change the pins"), locks.hold_if_free(self._layout.pins_lock) as held:
            if not held:
                raise StoreError("somebody else is changing the pins right now: try again")
            yield

    def _write(self, pins: list[Pin]) -> None:
        records = [{"upstream": pin.upstream, "image": str(pin.image), "pinned_at": pin.pinned_at} for pin in pins]
        data = json.dumps({"version": _VERSION, "pins": records}, indent=1).encode()
        with disk.store_errors("write the pins"):
            atomic_write.write_whole(self._layout.pins, data, synced=True)


def _parse(record: dict[str, object]) -> Pin:
    upstream = str(record["upstream"])
    if "/" in upstream or upstream.startswith("."):
        # It becomes a part of a path.
        raise ValueError(upstream)
    return Pin(upstream, ImagePattern.parse(str(record["image"])), float(str(record["pinned_at"])))


def _pinned(repository: str, folder: RepositoryFolder, image: ImagePattern) -> Iterator[PinnedManifest]:
    if image.digest:
        if any(digest == image.digest for _, digest, _ in folder.manifests()):
            yield PinnedManifest(repository, image.digest, None)
        return
    for entry in folder.tags():
        tag = entry.name.removesuffix(".json")
        digest = record_format.tag_digest(disk.read_whole(entry.path)) if image.matches_tag(tag) else None
        if digest:
            yield PinnedManifest(repository, digest, tag)
