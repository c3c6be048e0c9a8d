"""A store with images whose last use a test chooses, and passes of cleanup over it."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import parse_manifest
from registry_cache.oci.media_types import OCI_INDEX, OCI_MANIFEST
from registry_cache.oci.names import FullName, Repository, Tag
from registry_cache.oci.signed_manifest import SIGNED
from registry_cache.policy.eviction import Bounds
from registry_cache.store.record_format import TagRecord
from registry_cache.upkeep.cleanup import Cleanup, CleanupResult
from tests.harness import schema_1
from tests.harness.store_rig import APP, HUB, HUB_APP, Store, open_store

# In the future, so that nothing that a test has just written was used later; less than an hour, which is old.
NOW = float(int(time.time()) + 3000)
HOUR, DAY = 3600.0, 86_400.0

# Everything by which a cleanup changes a disk.
CHANGES = ("unlink", "rmdir", "utime", "open", "mkdir", "rename", "link")


class Shelf:
    """A store, filled like this: ``shelf.image(shelf.layer(b"…"), shelf.layer(b"…"), tag="1", ago=3 * DAY)``."""

    def __init__(self, root: Path) -> None:
        self.store: Store = open_store(root)
        self.layout = self.store.layout
        self.root = root

    def layer(self, data: bytes, *repositories: Repository, ago: float = 0.0, algorithm: str = "sha256") -> Digest:
        digest = self.store.put(data, algorithm)
        for repository in repositories or (APP,):
            assert self.store.blobs.grant(FullName(HUB, repository), digest)
        return self.used(digest, ago)

    def image(self, *layers: Digest, repository: Repository = APP, tag: str = "", ago: float = 0.0) -> Digest:
        named = [{"mediaType": "a/b", "digest": str(layer), "size": 1} for layer in layers]
        return self._manifest({"layers": named}, OCI_MANIFEST, repository, tag, ago)

    def index(self, *manifests: Digest, repository: Repository = APP, tag: str = "", ago: float = 0.0) -> Digest:
        named = [{"mediaType": OCI_MANIFEST, "digest": str(manifest), "size": 1} for manifest in manifests]
        return self._manifest({"manifests": named}, OCI_INDEX, repository, tag, ago)

    def signed(self, *layers: Digest, tag: str = "", ago: float = 0.0) -> tuple[Digest, Digest]:
        """An image of schema 1: the digest that names it, and the one that its bytes lie under."""
        named = [{"blobSum": str(layer)} for layer in layers]
        part, whole = schema_1.signed({"schemaVersion": 1, "name": str(APP), "fsLayers": named, "history": []})
        name, blob = Digest.of(part), Digest.of(whole)
        self.store.records.put_manifest(HUB_APP, name, whole, parse_manifest(whole, SIGNED))
        if tag:
            then = datetime.fromtimestamp(NOW - ago, UTC)
            self.store.records.put_tag(HUB_APP, Tag.parse(tag), TagRecord(name, SIGNED, len(whole), then, then))
        return name, self.used(blob, ago)

    def used(self, digest: Digest, ago: float) -> Digest:
        """Let this have been its last use."""
        moment = int((NOW - ago) * 10**9)
        os.utime(self.layout.blob(digest), ns=(moment, moment))
        return digest

    def ago(self, digest: Digest) -> float:
        """How many seconds ago it was used last."""
        found = os.stat(self.layout.blob(digest))
        return NOW - max(found.st_atime_ns, found.st_mtime_ns) / 10**9

    def has(self, *digests: Digest) -> list[bool]:
        return [os.path.exists(self.layout.blob(digest)) for digest in digests]

    def clean(self, now: float = NOW, **bounds: Any) -> CleanupResult:
        result = Cleanup(self.layout, Bounds(**bounds), now).run()
        assert result is not None
        return result

    def dry_run(self, now: float = NOW, **bounds: Any) -> CleanupResult:
        return Cleanup(self.layout, Bounds(**bounds), now).dry_run()

    def _manifest(self, document: object, media_type: str, repository: Repository, tag: str, ago: float) -> Digest:
        data = json.dumps(document).encode()
        digest = Digest.of(data)
        self.store.records.put_manifest(FullName(HUB, repository), digest, data, parse_manifest(data, media_type))
        if tag:
            then = datetime.fromtimestamp(NOW - ago, UTC)
            self.store.records.put_tag(
                FullName(HUB, repository), Tag.parse(tag), TagRecord(digest, media_type, len(data), then, then)
            )
            self.store.records.touch_tag(FullName(HUB, repository), Tag.parse(tag), then)
        return self.used(digest, ago)


def flip(path: str) -> None:
    """Change one bit in the middle of a file."""
    os.chmod(path, 0o644)
    data = bytearray(Path(path).read_bytes())
    data[len(data) // 2] ^= 1
    with open(path, "r+b") as file:
        file.write(data)
    os.chmod(path, 0o444)


def cut(path: str, size: int = 1) -> None:
    os.chmod(path, 0o644)
    os.truncate(path, size)
    os.chmod(path, 0o444)


def snapshot(root: Path) -> dict[str, tuple[int, int, int]]:
    """Every name, and what would show that it was changed; atimes are every reader's, and statistics a server's."""
    return {
        str(path): (found.st_ino, found.st_mtime_ns, found.st_nlink)
        for path in sorted(root.rglob("*"))
        if path.relative_to(root).parts[0] != "statistics"
        for found in [path.lstat()]
    }


class Killed(BaseException):
    """The process is no more: nothing it would have done after this happens."""


@contextmanager
def killed_at(number: int, under: Path) -> Iterator[list[int]]:
    """End everything at the ``number``-th change of the disk under a folder, 0 for none; yields how many there were."""
    count = [0]
    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            patch.setattr(os, name, _counted(getattr(os, name), name, number, count, under))
        try:
            yield count
        except Killed:
            assert number


def _counted(really: Any, name: str, number: int, count: list[int], under: Path) -> Any:
    def call(*arguments: Any, **options: Any) -> Any:
        mine = isinstance(arguments[0], str) and arguments[0].startswith(str(under))
        if mine and not (name == "open" and not arguments[1] & os.O_CREAT):
            count[0] += 1
            if number and count[0] >= number:
                raise Killed
        return really(*arguments, **options)

    return call


def refusing(monkeypatch: pytest.MonkeyPatch, name: str, code: int = errno.EROFS) -> None:
    """Let every ``os.<name>`` fail."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, name, refuse)


def no_new_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk have no room for one more file; those that are there can be opened."""
    really_open = os.open

    def full(path: str, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_CREAT and not os.path.exists(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return really_open(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", full)
