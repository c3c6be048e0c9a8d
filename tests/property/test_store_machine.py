"""Any operations on a store in any order: what it returns is correct, and it never promises what it has lost.

Time advances only with cleanups, and in the end so far that everything is evicted except for pinned images.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import parse_manifest
from registry_cache.oci.media_types import OCI_MANIFEST
from registry_cache.oci.names import FullName, Repository, Tag
from registry_cache.oci.pattern import ImagePattern
from registry_cache.policy.eviction import Bounds
from registry_cache.store.pins import ANY_UPSTREAM, Pin, Pins
from registry_cache.store.record_format import TagRecord
from registry_cache.upkeep.cleanup import Cleanup
from registry_cache.upkeep.verify import Verify, VerifyTask
from tests.harness.cleanup_rig import DAY, HOUR, killed_at
from tests.harness.store_rig import APP, HUB, OTHER, open_store

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
LAYER = b"layer" * 100
PARENT = json.dumps({"layers": [{"mediaType": "a/b", "digest": str(Digest.of(LAYER)), "size": 500}]}).encode()
BODIES = [b"", b"x", LAYER, b'{"layers": []}', b'{"manifests": []}', PARENT]
bodies = st.sampled_from(BODIES)
repositories = st.sampled_from([APP, OTHER])
tags = st.sampled_from([Tag.parse("1"), Tag.parse("latest")])
leaps = st.sampled_from([60.0, 2 * HOUR, 3 * DAY])
bounds = st.builds(
    Bounds,
    ttl=st.none() | st.sampled_from([timedelta(hours=1), timedelta(days=2)]),
    max_size=st.none() | st.sampled_from([1, 510, 1200]),
)
pins = st.builds(lambda data: Pin(ANY_UPSTREAM, ImagePattern("**", digest=Digest.of(data))), bodies) | st.sampled_from(
    [Pin(HUB, ImagePattern.parse(f"{APP}:1")), Pin(ANY_UPSTREAM, ImagePattern.parse("**:latest"))]
)


class StoreMachine(RuleBasedStateMachine):
    """The model: the meaning of tags, the pins, the time, and the inodes that have been written into."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.patch = pytest.MonkeyPatch()
        # Power is never cut here, and fsync would take most of the time.
        self.patch.setattr(os, "fsync", lambda descriptor: None)
        self.store = open_store(Path(self.folder.name))
        self.tags: dict[tuple[str, str], Digest] = {}
        self.pins: list[Pin] = []
        self.now = time.time()
        # Kept open, so that their inode numbers are not reused.
        self.damaged: dict[int, int] = {}

    def teardown(self) -> None:
        try:
            self.after_all_nothing_is_left_but_what_is_pinned()
        finally:
            for descriptor in self.damaged.values():
                os.close(descriptor)
            self.patch.undo()
            self.folder.cleanup()

    def after_all_nothing_is_left_but_what_is_pinned(self) -> None:
        self.another_process_opens_it()
        with self.nothing_pinned_goes():
            self.clean(Bounds(ttl=timedelta(hours=1)), 40 * DAY)
        assert self.store.files("locks") | self.store.files("partial") | self.store.files("quarantine") == set()
        left = {Path(path) for path in self.store.files()}
        assert not [path for path in left if path.name.startswith(".")]
        named = {os.stat(Path(self.folder.name) / path).st_ino for path in left if path.parts[0] == "blobs"}
        for path in left:
            # Memberships and names of manifests, not their records.
            if {"_blobs", "_manifests"} & set(path.parts) and path.suffix != ".json":
                assert os.stat(Path(self.folder.name) / path).st_ino in named, path

    def path(self, data: bytes) -> Path:
        return Path(self.store.layout.blob(Digest.of(data)))

    def clean(self, bounds: Bounds, leap: float) -> None:
        self.now += leap
        Cleanup(self.store.layout, bounds, self.now).run()

    @contextmanager
    def nothing_pinned_goes(self, *, killed: bool = False) -> Iterator[None]:
        """Check what a cleanup, or the part of it before it was killed, has evicted."""
        kept = self.pinned()
        yield
        assert [data for data in kept if not self.path(data).exists()] == []
        for (repository, tag), digest in list(self.tags.items()):
            record = Path(self.store.layout.tag(FullName(HUB, Repository.parse(repository)), Tag.parse(tag)))
            if not record.exists():
                # A tag goes only together with its manifest, and before it.
                assert killed or not self.record(Repository.parse(repository), digest).exists()
                del self.tags[repository, tag]

    def pinned(self) -> list[bytes]:
        """Stored blobs that are pinned, or are a layer of a pinned manifest."""
        found = [data for data in BODIES if self.path(data).exists() and self.is_pinned(Digest.of(data))]
        if PARENT in found and self.path(LAYER).exists() and any(map(self.knows_parent, (APP, OTHER))):
            found.append(LAYER)
        return found

    def is_pinned(self, digest: Digest) -> bool:
        by_tag = any(
            pin.image.matches_repository(repository) and pin.image.matches_tag(tag)
            for pin in self.pins
            for (repository, tag), meant in self.tags.items()
            if meant == digest
        )
        return by_tag or any(pin.image.digest == digest for pin in self.pins)

    def knows_parent(self, repository: Repository) -> bool:
        record = self.record(repository, Digest.of(PARENT))
        name = record.with_suffix(".oci-manifest")
        return record.exists() and name.exists() and name.samefile(self.path(PARENT))

    def record(self, repository: Repository, digest: Digest) -> Path:
        return Path(self.store.layout.repositories, HUB, str(repository), "_manifests", "sha256", f"{digest.hex}.json")

    def damage(self, data: bytes) -> Path:
        """Record that the blob of ``data`` is being written into."""
        path = self.path(data)
        os.chmod(path, 0o644)
        if path.stat().st_ino not in self.damaged:
            self.damaged[path.stat().st_ino] = os.open(path, os.O_RDONLY)
        return path

    def is_right(self, path: Path | str, found: bytes | None, data: bytes) -> bool:
        """Reading checks sizes, and only verify checks content: nothing but a flipped bit may go unnoticed."""
        if found is None or found == data:
            return True
        return len(found) == len(data) and os.stat(path).st_ino in self.damaged

    @rule()
    def another_process_opens_it(self) -> None:
        self.store = open_store(Path(self.folder.name))

    @rule(data=bodies, repository=repositories)
    def download(self, data: bytes, repository: Repository) -> None:
        digest = self.store.put(data)
        # A damaged blob has been replaced, so its own name is good again; memberships may still lead to the old inode.
        assert self.path(data).read_bytes() == data
        if self.store.read(digest, repository) is None:
            self.store.blobs.grant(FullName(HUB, repository), digest)
            assert self.store.read(digest, repository) == data

    @rule(data=bodies, repository=repositories)
    def grant(self, data: bytes, repository: Repository) -> None:
        digest = Digest.of(data)
        assert self.store.blobs.grant(FullName(HUB, repository), digest) is self.path(data).exists()

    @rule(repository=repositories)
    def read(self, repository: Repository) -> None:
        for data in BODIES:
            digest = Digest.of(data)
            somewhere = self.store.blobs.open_any(digest)
            if somewhere:
                assert self.is_right(self.path(data), somewhere.file.read_at(0, 1000), data)
            found = self.store.read(digest, repository)
            assert self.is_right(self.store.layout.membership(FullName(HUB, repository), digest), found, data)

    @rule(repository=repositories, tag=tags)
    def pull_an_image(self, repository: Repository, tag: Tag) -> None:
        self.download(LAYER, repository)
        self.put_manifest(PARENT, repository)
        self.put_tag(PARENT, repository, tag)

    @rule(data=bodies, repository=repositories)
    def put_manifest(self, data: bytes, repository: Repository) -> None:
        digest = Digest.of(data)
        found = parse_manifest(data, OCI_MANIFEST)
        for _ in range(3):
            self.store.records.put_manifest(FullName(HUB, repository), digest, data, found)
            if self.store.records.manifest(FullName(HUB, repository), digest):
                return
        # Reading a damaged one evicts it, so this ends.
        raise AssertionError("a manifest that is kept is never here")

    @rule(data=bodies, repository=repositories)
    def read_manifest(self, data: bytes, repository: Repository) -> None:
        found = self.store.records.manifest(FullName(HUB, repository), Digest.of(data))
        assert found is None or found.data == data
        assert self.store.records.read_any(Digest.of(data)) in (None, data)

    @rule(data=bodies, repository=repositories, tag=tags)
    def put_tag(self, data: bytes, repository: Repository, tag: Tag) -> None:
        digest = Digest.of(data)
        record = TagRecord(digest, OCI_MANIFEST, len(data), NOW, NOW)
        self.store.records.put_tag(FullName(HUB, repository), tag, record)
        self.tags[repository, tag] = digest

    @rule(repository=repositories, tag=tags)
    def forget_tag(self, repository: Repository, tag: Tag) -> None:
        self.store.records.forget_tag(FullName(HUB, repository), tag)
        self.tags.pop((repository, tag), None)

    @rule(repository=repositories, tag=tags, data=st.binary(max_size=20))
    def tear_a_tag(self, repository: Repository, tag: Tag, data: bytes) -> None:
        path = Path(self.store.layout.tag(FullName(HUB, repository), tag))
        if path.exists():
            path.write_bytes(data)
            self.tags.pop((repository, tag), None)

    def stored(self) -> list[bytes]:
        return [data for data in BODIES if self.path(data).exists()]

    @precondition(lambda self: self.stored())
    @rule(which=st.randoms(use_true_random=False), size=st.integers(0, 600))
    def truncate(self, which: Random, size: int) -> None:
        os.truncate(self.damage(which.choice(self.stored())), size)

    @precondition(lambda self: any(self.stored()))
    @rule(which=st.randoms(use_true_random=False), at=st.integers(0, 600))
    def flip_a_bit(self, which: Random, at: int) -> None:
        data = which.choice([data for data in self.stored() if data])
        with open(self.damage(data), "r+b") as file:
            file.seek(at % len(data))
            file.write(bytes([data[at % len(data)] ^ 1]))

    @rule(pin=pins)
    def pin(self, pin: Pin) -> None:
        added = Pins(self.store.layout).add([pin])
        # By what they name: one that comes back is dated after its removal.
        known = {each.key for each in self.pins}
        assert [each.key for each in added] == ([] if pin.key in known else [pin.key])
        self.pins += added

    @precondition(lambda self: self.pins)
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        pin = data.draw(st.sampled_from(self.pins))
        assert Pins(self.store.layout).remove([pin]) == [pin]
        self.pins.remove(pin)

    @rule(bounds=bounds, leap=leaps)
    def cleanup(self, bounds: Bounds, leap: float) -> None:
        with self.nothing_pinned_goes():
            self.clean(bounds, leap)

    @rule(bounds=bounds, leap=leaps, at=st.integers(1, 40))
    def a_cleanup_is_killed(self, bounds: Bounds, leap: float, at: int) -> None:
        with self.nothing_pinned_goes(killed=True), killed_at(at, Path(self.folder.name)):
            self.clean(bounds, leap)

    @rule()
    def verify_repairs(self) -> None:
        Verify(self.store.layout, VerifyTask(self.now, day=0, repair=True)).run()
        assert self.store.wrong_blobs() == []

    @rule(data=bodies)
    def evict(self, data: bytes) -> None:
        """Remove the blob but not its memberships, which are independent names of its inode."""
        with suppress(FileNotFoundError):
            os.unlink(self.path(data))

    @rule(data=bodies, repository=repositories)
    def evict_a_name(self, data: bytes, repository: Repository) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.store.layout.membership(FullName(HUB, repository), Digest.of(data)))

    @rule(data=bodies, cut=st.none() | st.integers(0, 600), sealed=st.booleans())
    def a_leader_dies(self, data: bytes, cut: int | None, sealed: bool) -> None:
        """Leave a partial of ``cut`` bytes, or only a lock."""
        digest = Digest.of(data)
        Path(self.store.layout.lock(digest)).touch()
        if cut is not None:
            path = Path(self.store.layout.partial(digest))
            # Of another leader that died, perhaps with the file sealed.
            path.unlink(missing_ok=True)
            path.write_bytes(data[:cut])
            path.chmod(0o444 if sealed else 0o644)
            Path(self.store.layout.status(digest)).write_bytes(b'{"upstr')

    @rule(data=bodies, name=st.sampled_from([".1-0", ".2-7"]))
    def a_writer_dies(self, data: bytes, name: str) -> None:
        beside = self.path(data).parent / name
        beside.parent.mkdir(exist_ok=True)
        beside.write_bytes(data[:3])

    @precondition(lambda self: self.tags)
    @rule()
    def tags_are_listed(self) -> None:
        for repository in (APP, OTHER):
            known = set(self.store.records.tags(FullName(HUB, repository)))
            assert {tag for of, tag in self.tags if of == repository} <= known

    @invariant()
    def blobs_are_wrong_only_where_somebody_wrote_into_them(self) -> None:
        assert [path for path in self.store.wrong_blobs() if path.stat().st_ino not in self.damaged] == []

    @invariant()
    def tags_mean_what_was_said_last(self) -> None:
        for repository in (APP, OTHER):
            for tag in ("1", "latest"):
                found = self.store.records.tag(FullName(HUB, repository), Tag.parse(tag))
                assert (found.digest if found else None) == self.tags.get((repository, tag))


StoreMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestStoreMachine = StoreMachine.TestCase
