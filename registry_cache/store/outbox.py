"""What is still to be sent to the bucket: written by workers, sent by a process of its own (``bucket.sender``).

    <root>/outbox/<when>-<random>.json    what to send: kind, upstream, repository, digest or tag; written last
    <root>/outbox/<when>-<random>.bytes   a hard link to the bytes, so that eviction cannot take them before that

A crash leaves an entry whole or none: bytes without a note are removed after a while, and sending twice does no harm.
An entry that is lost costs another node a download. When the bytes that only the outbox still holds are more than its
share of the store, the oldest entries go.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Tag
from registry_cache.runtime.log import Log
from registry_cache.store import atomic_write, disk, modes, record_format
from registry_cache.store.layout import Layout
from registry_cache.store.record_format import TagRecord

BLOB, MANIFEST, TAG = "blob", "manifest", "tag"
# What is named before what names it, as on the disk.
ORDER = (BLOB, MANIFEST, TAG)

# After so long a link without a note is one whose worker died between the two.
_LOST_AFTER_SECONDS = 600.0

_NOTE, _BYTES = ".json", ".bytes"

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One thing to send. ``name``: its digest, or the tag. ``since`` in seconds since the epoch."""

    stem: str
    kind: str
    upstream: str
    repository: str
    name: str
    media_type: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def since(self) -> float:
        return _since(os.path.basename(self.stem))

    @property
    def bytes_path(self) -> str:
        return self.stem + _BYTES


@dataclass(frozen=True, slots=True)
class OutboxState:
    """How many ``entries`` wait, and since when the oldest does, in seconds since the epoch; None for none."""

    entries: int
    oldest: float | None


class Outbox:
    """The outbox of one store. Adding an entry never fails: a pull matters more."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def add_blob(self, name: FullName, digest: Digest) -> None:
        """Send a blob that is in the store, unless the bucket has it, and say that the repository contains it."""
        self._add(BLOB, name, str(digest), digest)

    def add_manifest(self, name: FullName, digest: Digest, media_type: str) -> None:
        """Send a manifest that is in the store."""
        self._add(MANIFEST, name, str(digest), digest, media_type=media_type)

    def add_tag(self, name: FullName, tag: Tag, record: TagRecord) -> None:
        """Send what a tag means."""
        said = json.loads(record_format.write_shared_tag(record))
        self._add(TAG, name, str(tag), None, record=said)

    def entries(self) -> list[OutboxEntry]:
        """Return what waits, the oldest first. Raises StoreError."""
        with disk.store_errors("read the outbox"):
            return [entry for stem in self._stems() if (entry := _read(stem))]

    def remove(self, entry: OutboxEntry) -> None:
        """Forget an entry that was sent. Raises StoreError."""
        with disk.store_errors("remove from the outbox"):
            _remove(entry.stem)

    def state(self) -> OutboxState:
        """Return how much waits; opens no entry. Raises StoreError."""
        with disk.store_errors("look into the outbox"):
            stems = self._stems()
        return OutboxState(len(stems), _since(os.path.basename(stems[0])) if stems else None)

    def is_empty(self) -> bool:
        """Return whether nothing waits. Raises StoreError."""
        with disk.store_errors("look into the outbox"):
            return not any(entry.name.endswith(_NOTE) for entry in disk.entries(self._layout.outbox))

    def trim(self, limit: int) -> int:
        """Remove the oldest entries until the bytes that nothing but the outbox holds are within ``limit``; and what
        workers that died have left. Return how many entries went. Raises StoreError.
        """
        with disk.store_errors("trim the outbox"):
            self._sweep()
            held = {stem: size for stem in self._stems() if (size := _held_bytes(stem + _BYTES))}
            total, gone = sum(held.values()), 0
            for stem, size in sorted(held.items()):
                if total <= limit:
                    break
                _remove(stem)
                total -= size
                gone += 1
            return gone

    def _add(
        self,
        kind: str,
        name: FullName,
        thing: str,
        bytes_of: Digest | None,
        **more: object,
    ) -> None:
        stem = f"{self._layout.outbox}/{time.time_ns():020d}-{secrets.token_hex(4)}"
        note = {"kind": kind, "upstream": name.upstream, "repository": str(name.repository), "name": thing, **more}
        try:
            with disk.store_errors(f"put {thing} into the outbox"):
                if bytes_of:
                    modes.make_folders(self._layout.outbox)
                    os.link(self._layout.blob(bytes_of), stem + _BYTES)
                atomic_write.write_whole(stem + _NOTE, json.dumps(note).encode())
        except StoreError as error:
            _log.warning(
                "the bucket will not get what was fetched", name=thing, repository=name.repository, error=error
            )
            with contextlib.suppress(OSError):
                disk.remove(stem + _BYTES)

    def _stems(self) -> list[str]:
        """Return the stems of all entries, the oldest first."""
        found = [entry.path for entry in disk.entries(self._layout.outbox) if _is_note(entry.name)]
        return sorted(path.removesuffix(_NOTE) for path in found)

    def _sweep(self) -> None:
        """Remove what has no note, and never will."""
        names = {entry.name for entry in disk.entries(self._layout.outbox)}
        until = time.time() - _LOST_AFTER_SECONDS
        for name in _leftovers(names):
            path = f"{self._layout.outbox}/{name}"
            found = disk.stat(path)
            # A link's own time of change: the bytes may be years old.
            if found and found.st_ctime < until:
                disk.remove(path)


def open_bytes(entry: OutboxEntry) -> BinaryIO:
    """Open the bytes of an entry; close them. Raises FileNotFoundError where it was removed, OSError."""
    return open(entry.bytes_path, "rb")


def _leftovers(names: set[str]) -> Iterator[str]:
    """Yield the names of bytes without a note, and of notes that were never finished."""
    for name in names:
        if name.startswith(".") or (name.endswith(_BYTES) and name.removesuffix(_BYTES) + _NOTE not in names):
            yield name


def _is_note(name: str) -> bool:
    return name.endswith(_NOTE) and not name.startswith(".")


def _held_bytes(path: str) -> int:
    """Return how many bytes on the disk would be free if ``path`` went."""
    found = disk.stat(path)
    return found.st_size if found and found.st_nlink == 1 else 0


def _since(name: str) -> float:
    try:
        return int(name.partition("-")[0]) / 10**9
    except ValueError:
        return 0.0


def _read(stem: str) -> OutboxEntry | None:
    """Return an entry; None where another process has just removed it. One that makes no sense is removed."""
    data = disk.read_whole(stem + _NOTE)
    if data is None:
        return None
    try:
        note = json.loads(data)
        entry = OutboxEntry(
            stem,
            kind=str(note["kind"]),
            upstream=str(note["upstream"]),
            repository=str(note["repository"]),
            name=str(note["name"]),
            media_type=str(note.get("media_type", "")),
            record=dict(note.get("record") or {}),
        )
        if entry.kind in ORDER:
            return entry
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    # A power cut left it, or another version.
    _remove(stem)
    return None


def _remove(stem: str) -> None:
    # The note first: bytes without one are swept, a note without bytes would be tried.
    disk.remove(stem + _NOTE)
    disk.remove(stem + _BYTES)
