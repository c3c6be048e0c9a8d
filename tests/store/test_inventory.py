"""A store seen from the outside: everything counted once, nothing changed, nobody disturbed."""

from __future__ import annotations

import errno
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry_cache.errors import StoreError, UpstreamTimeout
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import parse_manifest
from registry_cache.oci.names import FullName
from registry_cache.store import inventory, locks
from registry_cache.store.audit import selftest
from registry_cache.store.download_status import DownloadStatus, failed_status
from registry_cache.store.inventory import StoreCounts, Unfinished
from registry_cache.store.layout import Layout
from registry_cache.store.reader_notes import ReaderNote, readers_by_digest
from registry_cache.store.record_format import TagRecord
from tests.harness.store_rig import APP, HUB, HUB_APP, LATEST, OTHER, Store, fail_at

MANIFEST = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
BLOB = Digest.of(b"0123456789")


def snapshot(root: Path) -> dict[str, tuple[int, int, int]]:
    return {
        str(path): (found.st_ino, found.st_mtime_ns, found.st_nlink)
        for path in sorted(root.rglob("*"))
        for found in [path.lstat()]
    }


def test_what_several_repositories_share_is_counted_once(store: Store) -> None:
    blob, digest = store.put(b"0123456789"), Digest.of(MANIFEST)
    manifest = parse_manifest(MANIFEST, "application/vnd.oci.image.index.v1+json")
    now = datetime.now(UTC)
    for repository in (APP, OTHER):
        assert store.blobs.grant(FullName(HUB, repository), blob)
        store.records.put_manifest(FullName(HUB, repository), digest, MANIFEST, manifest)
        store.records.put_tag(
            FullName(HUB, repository), LATEST, TagRecord(digest, manifest.media_type, len(MANIFEST), now, now)
        )

    found = inventory.count(store.layout)

    assert found.allocated >= found.bytes
    assert found == StoreCounts(2, 2, 1, 1, 10 + len(MANIFEST), found.allocated)


def test_what_is_being_written_does_not_count(store: Store) -> None:
    store.put(b"0123456789")
    folder = Path(store.layout.blob(BLOB)).parent
    (folder / ".being-written").write_bytes(b"012")
    (Path(store.layout.root) / "repositories" / "stray").write_bytes(b"")
    assert inventory.count(store.layout).blobs == 1


def test_a_transfer_runs_while_its_lock_is_held(store: Store) -> None:
    claim = store.partials.claim(BLOB)
    assert claim
    with claim, claim.partial() as partial:
        partial.append(b"01234")
        assert inventory.unfinished(store.layout) == [Unfinished(BLOB, 5, True)]
        claim.publish(DownloadStatus(HUB_APP, time.time(), 10))
        assert inventory.unfinished(store.layout) == [Unfinished(BLOB, 5, True, 10, HUB, APP)]
    assert inventory.unfinished(store.layout) == [Unfinished(BLOB, 5, False, 10, HUB, APP)]


def test_the_readers_of_all_processes_are_added(store: Store) -> None:
    here, there = ReaderNote(store.layout), ReaderNote(store.layout)
    claim = store.partials.claim(BLOB)
    assert claim
    with claim, claim.partial():
        assert [each.readers for each in inventory.unfinished(store.layout)] == [0]
        here.write({str(BLOB): 12, "sha256:other": 1})
        here.write({str(BLOB): 2})
        there.write({str(BLOB): 3})
        assert [each.readers for each in inventory.unfinished(store.layout)] == [5]
        there.remove()
        # A process that was killed has freed its lock, and left its file.
        Path(store.layout.reader_notes, "dead.lock").write_text(json.dumps({str(BLOB): 7}), encoding="utf-8")
        assert [each.readers for each in inventory.unfinished(store.layout)] == [2]
    here.remove()
    assert store.files("locks/readers") == {"locks/readers/dead.lock"}


def test_a_note_of_readers_that_is_half_written_says_nothing(store: Store) -> None:
    note = ReaderNote(store.layout)
    note.write({str(BLOB): 1})
    [path] = store.files("locks/readers")
    for half in (b'{"sha', b"[1]", b'{"a": "b"}', b"[" * 5000):
        (Path(store.layout.root) / path).write_bytes(half)
        assert readers_by_digest(store.layout) == {}
    note.remove()


def test_an_interrupted_transfer_tells_why(store: Store) -> None:
    claim = store.partials.claim(BLOB)
    assert claim
    with claim:
        with claim.partial() as partial:
            partial.append(b"01234")
        claim.publish(failed_status(HUB_APP, UpstreamTimeout("it was silent")))
        # Another leader is at it, and has not told anything yet.
        assert [each.error for each in inventory.unfinished(store.layout)] == [""]
    assert [each.error for each in inventory.unfinished(store.layout)] == ["it was silent"]


def test_a_committed_transfer_is_none(store: Store) -> None:
    store.put(b"0123456789")
    assert inventory.unfinished(store.layout) == []


def test_looking_changes_nothing(store: Store) -> None:
    claim = store.partials.claim(BLOB)
    assert claim
    with claim, claim.partial() as partial:
        partial.append(b"01234")
    store.put(b"other")
    before = snapshot(Path(store.layout.root))

    inventory.count(store.layout)
    inventory.unfinished(store.layout)
    Layout.find(Path(store.layout.root))

    assert snapshot(Path(store.layout.root)) == before


def test_two_observers_do_not_see_each_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store.layout.lock(BLOB)
    assert not locks.is_locked(path)
    assert not os.path.exists(path)
    with locks.LockFile(path) as lock:
        # The first observer is still looking when the second one comes.
        really_close, seen = os.close, []

        def close(descriptor: int) -> None:
            monkeypatch.setattr(os, "close", really_close)
            seen.append(locks.is_locked(path))
            really_close(descriptor)

        monkeypatch.setattr(os, "close", close)
        assert not locks.is_locked(path)
        assert seen == [False]
        assert lock.acquire()
        assert locks.is_locked(path)


def test_a_folder_without_a_store(tmp_path: Path) -> None:
    missing = tmp_path / "a" / "b"
    assert Layout.find(missing) is None
    assert inventory.count(Layout(missing)) == StoreCounts()
    assert inventory.unfinished(Layout(missing)) == []
    assert inventory.disk_space(str(missing)).total > 0
    assert not (tmp_path / "a").exists()


def test_another_versions_store_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "layout").write_bytes(b"2\n")
    with pytest.raises(StoreError, match="use the version that wrote it"):
        Layout.find(tmp_path)


def test_a_disk_that_can_everything(tmp_path: Path) -> None:
    found = list(selftest.examine(tmp_path / "not" / "yet"))
    assert [each.name for each in found] == ["folder", "room", "hard links", "attributes", "locks"]
    assert {each.state for each in found} <= {"ok", "warning"}
    assert "does not exist yet" in found[0].words
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("call", "name"), [("link", "hard links"), ("setxattr", "attributes")])
def test_a_disk_that_cannot(call: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at(monkeypatch, call, 1, 95, tmp_path)
    found = {each.name: each for each in selftest.examine(tmp_path)}
    assert found[name].state == "warning"
    assert found[name].words == "not possible here: Operation not supported"
    assert found[name].remedy


@pytest.mark.parametrize(
    ("call", "code", "words", "remedy"),
    [
        ("mkdir", errno.EROFS, "Read-only file system", "look at dmesg, and mount it for writing"),
        ("mkdir", errno.EACCES, "Permission denied", "give it to user "),
        ("mkdir", errno.ENOSPC, "No space left on device", "free some room"),
        ("write", errno.EDQUOT, "Disk quota exceeded", "free some room"),
    ],
)
def test_a_folder_that_cannot_be_written(
    call: str, code: int, words: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, call, 1, code, tmp_path)
    [found] = selftest.examine(tmp_path)
    assert (found.name, found.state) == ("folder", "failed")
    assert words in found.words
    assert remedy in found.remedy
