"""One file of somebody else's becomes a blob: linked, copied or refused, and never half."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.store.interchange import ingest, linking
from registry_cache.store.interchange.ingest import Arrival, Ingest, Rejected, require_owner
from registry_cache.store.size_ledger import SizeLedger
from tests.harness.store_rig import Store

DATA = bytes(range(256)) * 9000
DIGEST = Digest.of(DATA)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    return path


def adopted(store: Store, source: Path, may_link: bool = True) -> Arrival:
    return Ingest(store.layout, may_link=may_link).add_file(DIGEST, str(source), len(DATA))


def whole(store: Store) -> bool:
    found = store.blobs.open_any(DIGEST)
    litter = [name for name in store.files("blobs") if "/." in name] + list(store.files("locks"))
    return bool(found and found.file.read_at(0, found.size + 1) == DATA and not litter)


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EACCES, errno.EOPNOTSUPP])
def test_what_cannot_be_linked_is_copied(
    store: Store, source: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    assert adopted(store, source) is Arrival.COPIED
    assert whole(store)


@pytest.mark.parametrize("name", ["utime", "fchmod"])
def test_what_belongs_to_somebody_else_is_copied(
    store: Store, source: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, really = source.stat().st_ino, getattr(os, name)

    def theirs(descriptor: int, *arguments: Any, **options: Any) -> Any:
        if os.stat(descriptor).st_ino == ours:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return really(descriptor, *arguments, **options)

    monkeypatch.setattr(os, name, theirs)
    assert adopted(store, source) is Arrival.COPIED
    assert whole(store)
    assert source.stat().st_nlink == 1


def test_a_disk_that_shares_bytes_shares_them(store: Store, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def clone(target: int, request: int, original: int) -> int:
        assert request == 0x40049409
        return os.pwrite(target, os.pread(original, len(DATA) + 1, 0), 0)

    monkeypatch.setattr(fcntl, "ioctl", clone)
    assert adopted(store, source, may_link=False) is Arrival.COPIED
    assert whole(store)


def test_of_many_at_once_one_brings_it(store: Store, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "LOCK_TIMEOUT_SECONDS", 60.0)
    found: list[Arrival] = []
    threads = [threading.Thread(target=lambda: found.append(adopted(store, source))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(how.name for how in found) == ["HERE", "HERE", "HERE", "LINKED"]
    assert whole(store)


def test_a_download_is_left_to_its_leader(store: Store, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "LOCK_TIMEOUT_SECONDS", 0.05)
    claim = store.partials.claim(DIGEST)
    assert claim
    with claim, claim.partial() as partial:
        partial.append(DATA[:1000])
        with pytest.raises(Rejected, match="is being downloaded"):
            adopted(store, source)
        partial.append(DATA[1000:])
        partial.commit()
    assert adopted(store, source) is Arrival.HERE
    assert whole(store)


def test_what_a_dead_leader_left_is_swept_up(store: Store, source: Path) -> None:
    claim = store.partials.claim(DIGEST)
    assert claim
    with claim, claim.partial() as partial:
        partial.append(DATA[:1000])
    assert adopted(store, source) is Arrival.LINKED
    assert whole(store)
    assert store.files("partial") == set()


def test_a_blob_that_was_cut_short_here_is_mended(store: Store, source: Path) -> None:
    store.put(DATA)
    path = store.layout.blob(DIGEST)
    os.chmod(path, 0o644)
    os.truncate(path, 5)
    assert adopted(store, source) is Arrival.LINKED
    assert whole(store)


@pytest.mark.parametrize("old", [True, False])
def test_what_was_written_long_ago_is_not_waited_for(
    store: Store, source: Path, old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No test can make a file look as if it had been changed long ago.
    monkeypatch.setattr(ingest, "CLOCK_MARGIN", -3600.0 if old else 3600.0)
    waits: list[str] = []
    monkeypatch.setattr(linking, "sync_disk", lambda folder: waits.append("everything"))
    monkeypatch.setattr(os, "fsync", lambda descriptor: waits.append("one"))
    adoption = Ingest(store.layout, may_link=True)
    assert adoption.add_file(DIGEST, str(source), len(DATA)) is Arrival.LINKED
    adoption.sync_to_disk()
    assert waits == ["everything", *([] if old else ["one", "one"]), "everything"]
    assert whole(store)


def test_damage_leaves_the_source_as_it_was(store: Store, source: Path) -> None:
    source.write_bytes(DATA[:-1])
    mode = source.stat().st_mode
    for may_link in (True, False):
        with pytest.raises(Rejected, match="its bytes are those of sha256:"):
            adopted(store, source, may_link)
    assert (source.stat().st_mode, source.stat().st_nlink) == (mode, 1)
    assert store.files("blobs") == set()


def test_what_is_no_file_is_not_waited_for(store: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path / "pipe", "not a file"),
        (tmp_path, "not a file"),
        (tmp_path / "none", "No such file"),
    ):
        with pytest.raises(Rejected, match=words):
            adopted(store, path)


def test_a_source_that_cannot_be_read_is_not_the_stores_trouble(
    store: Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", broken)
    for may_link in (True, False):
        with pytest.raises(Rejected, match="cannot be read: Input/output error"):
            adopted(store, source, may_link)


def test_a_file_that_grows_while_it_is_read_is_refused(store: Store, source: Path) -> None:
    def grow(count: int) -> None:
        if source.stat().st_size == len(DATA):
            with source.open("ab") as file:
                file.write(b"more" * 1_000_000)

    with pytest.raises(Rejected):
        Ingest(store.layout, may_link=True, tick=grow).add_file(DIGEST, str(source), len(DATA))
    assert store.files("blobs") == set()


def test_the_ledger_counts_it(store: Store, source: Path) -> None:
    ledger = SizeLedger(store.layout)
    ledger.replace(0, 0)
    adopted(store, source)
    adopted(store, source)
    assert ledger.total() == len(DATA)


def test_in_somebody_elses_store_nothing_is_made(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    require_owner(store.layout)
    really = os.stat

    def theirs(path: Any, **options: Any) -> os.stat_result:
        found = really(path, **options)
        values = list(found)
        values[4] += path == store.layout.root
        return os.stat_result(values)

    monkeypatch.setattr(os, "stat", theirs)
    with pytest.raises(StoreError, match="run this as user"):
        require_owner(store.layout)
