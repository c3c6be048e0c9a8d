"""Pins: the operator's promises not to evict. One small file, which a cleanup that cannot read it does not survive.

<root>/pins.json      {"version": 1, "pins": [{"upstream", "image", "pinned_at"}]}
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

from registry_cache.errors import DigestInvalid, RegistryError, StoreError
from registry_cache.oci.digest import Digest
from registry_cache.oci.pattern import ImagePattern
from registry_cache.store import disk, locks
from registry_cache.store.last_use import Tick, entries, named_manifests, repositories
from registry_cache.store.layout import Layout

_VERSION = 1

# In place of an upstream: whichever has it.
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
                f"{self._layout.pins} is damaged, and what was pinned would be evicted: mend or remove it"
            ) from error

    def add(self, pins: list[Pin]) -> list[Pin]:
        """Keep ``pins``; return those that were not kept yet. Raises StoreError."""
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
        """Forget ``pins``; return those that were kept. Raises StoreError."""
        with self._changing():
            known = self.all()
            keys = {pin.key for pin in pins}
            self._write([pin for pin in known if pin.key not in keys])
            return [pin for pin in known if pin.key in keys]

    def pinned_by(self, pin: Pin, tick: Tick = lambda: None) -> Iterator[PinnedManifest]:
        """Yield what ``pin`` holds of what is here now. Raises OSError."""
        base = f"{self._layout.repositories}/{pin.upstream}/"
        if not pin.image.many_repositories and pin.upstream != ANY_UPSTREAM:
            yield from _held(base, f"{base}{pin.image.repository}", pin.image)
            return
        for folder in repositories(self._layout):
            tick()
            upstream, _, name = os.path.relpath(folder, self._layout.repositories).partition("/")
            if pin.upstream in (upstream, ANY_UPSTREAM) and pin.image.matches_repository(name):
                yield from _held(f"{self._layout.repositories}/{upstream}/", folder, pin.image)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with disk.store_errors("change the pins"):
            lock = locks.try_lock(self._layout.pins_lock())
        if lock is None:
            raise StoreError("somebody else is changing the pins right now: try again")
        with lock:
            yield
            lock.retire()

    def _write(self, pins: list[Pin]) -> None:
        records = [{"upstream": pin.upstream, "image": str(pin.image), "pinned_at": pin.pinned_at} for pin in pins]
        with disk.store_errors("write the pins"):
            disk.write_whole(
                self._layout.pins, json.dumps({"version": _VERSION, "pins": records}, indent=1).encode(), synced=True
            )


def _parse(record: dict[str, object]) -> Pin:
    upstream = str(record["upstream"])
    if "/" in upstream or upstream.startswith("."):
        # It becomes a part of a path.
        raise ValueError(upstream)
    return Pin(upstream, ImagePattern.parse(str(record["image"])), float(str(record["pinned_at"])))


def _held(base: str, folder: str, image: ImagePattern) -> Iterator[PinnedManifest]:
    repository = folder.removeprefix(base)
    if image.digest:
        if any(digest == image.digest for _, digest, _ in named_manifests(folder)):
            yield PinnedManifest(repository, image.digest, None)
        return
    for entry in entries(f"{folder}/_tags"):
        tag = entry.name.removesuffix(".json")
        if not entry.name.startswith(".") and image.matches_tag(tag):
            digest = _meaning(entry.path)
            if digest:
                yield PinnedManifest(repository, digest, tag)


def _meaning(record: str) -> Digest | None:
    try:
        return Digest.parse(json.loads(disk.read_whole(record) or b"{}")["digest"])
    except (DigestInvalid, ValueError, KeyError, TypeError, RecursionError):
        return None
