"""A name under blobs/ is a promise: whole, right, immutable; what a failing disk did behind our back is evicted."""

from __future__ import annotations

import errno
import os
import time
from functools import partial
from pathlib import Path

import pytest

from registry_cache.errors import StoreError, StoreFull
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Repository
from registry_cache.store.disk import TOUCH_SECONDS
from tests.harness.store_rig import (
    APP,
    HUB,
    HUB_APP,
    HUB_OTHER,
    OTHER,
    Store,
    descriptors,
    each_failing_call,
    fail_at,
    open_store,
)

DATA = b"layer " * 1000
DIGEST = Digest.of(DATA)


def give(store: Store, *repositories: Repository) -> None:
    """Bring the blob here, known to the repositories, or to APP alone."""
    store.put(DATA)
    for repository in repositories or (APP,):
        assert store.blobs.grant(FullName(HUB, repository), DIGEST)


def damage(path: str, size: int) -> None:
    os.chmod(path, 0o644)
    os.truncate(path, size)


def test_what_is_added_is_there_read_only_under_one_name(store: Store) -> None:
    store.blobs.add(DIGEST, DATA)
    assert Path(store.layout.blob(DIGEST)).read_bytes() == DATA
    assert os.stat(store.layout.blob(DIGEST)).st_mode & 0o777 == 0o440
    assert store.files("blobs") == {os.path.relpath(store.layout.blob(DIGEST), store.layout.root)}


def test_adding_again_changes_nothing(store: Store) -> None:
    store.blobs.add(DIGEST, DATA)
    before = os.stat(store.layout.blob(DIGEST))
    store.blobs.add(DIGEST, DATA)
    assert os.path.samestat(os.stat(store.layout.blob(DIGEST)), before)


def test_cached_is_not_authorised(store: Store) -> None:
    store.put(DATA)
    assert store.read(DIGEST) is None
    assert store.blobs.open_any(DIGEST)
    assert store.blobs.grant(HUB_APP, DIGEST)
    assert store.read(DIGEST) == DATA
    assert store.read(DIGEST, OTHER) is None


def test_nothing_is_granted_of_what_is_not_here(store: Store) -> None:
    assert not store.blobs.grant(HUB_APP, DIGEST)
    assert store.read(DIGEST) is None
    assert store.files("repositories") == set()


def test_a_membership_costs_no_bytes(store: Store) -> None:
    give(store)
    store.blobs.grant(HUB_APP, DIGEST)
    store.blobs.grant(HUB_OTHER, DIGEST)
    assert os.stat(store.layout.blob(DIGEST)).st_nlink == 3


@pytest.mark.parametrize("code", [errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP])
def test_a_symbolic_link_stands_in_where_no_hard_link_is_given(
    store: Store, monkeypatch: pytest.MonkeyPatch, code: int, tmp_path: Path
) -> None:
    store.put(DATA)
    fail_at(monkeypatch, "link", 1, code, tmp_path)
    assert store.blobs.grant(HUB_APP, DIGEST)
    assert os.path.islink(store.layout.membership(HUB_APP, DIGEST))
    assert store.read(DIGEST) == DATA
    # The whole store may be moved: the link is relative.
    moved = (tmp_path / "store").rename(tmp_path / "moved")
    assert open_store(moved).read(DIGEST) == DATA
    moved.rename(tmp_path / "store")
    # The bytes evicted, the link leads nowhere, and that is a miss.
    os.unlink(store.layout.blob(DIGEST))
    assert store.read(DIGEST) is None


@pytest.mark.parametrize("size", [0, 1, len(DATA) - 1, len(DATA) + 1])
def test_a_blob_of_another_size_than_recorded_is_evicted_and_no_hit(store: Store, size: int) -> None:
    give(store)
    damage(store.layout.blob(DIGEST), size)
    assert not store.blobs.open_any(DIGEST)
    assert store.blobs.open_any(DIGEST) is None
    assert store.read(DIGEST) is None
    assert store.files("blobs") == store.files("repositories") == set()
    give(store)
    assert store.read(DIGEST) == DATA


def test_adding_replaces_a_truncated_blob(store: Store) -> None:
    store.blobs.add(DIGEST, DATA)
    damage(store.layout.blob(DIGEST), 10)
    store.blobs.add(DIGEST, DATA)
    assert Path(store.layout.blob(DIGEST)).read_bytes() == DATA


def test_a_damaged_membership_does_not_take_the_good_blob_with_it(store: Store) -> None:
    give(store, APP, OTHER)
    damage(store.layout.blob(DIGEST), 10)
    assert store.read(DIGEST) is None
    give(store)
    # The other repository still has a name of the damaged inode.
    assert store.read(DIGEST, OTHER) is None
    assert store.blobs.open_any(DIGEST)
    assert store.read(DIGEST) == DATA


def test_a_reader_finishes_under_an_eviction(store: Store) -> None:
    give(store)
    blob = store.blobs.open(HUB_APP, DIGEST)
    assert blob is not None
    head = blob.file.read_at(0, 10)
    for path in (store.layout.membership(HUB_APP, DIGEST), store.layout.blob(DIGEST)):
        os.unlink(path)
    assert head + blob.file.read_at(10, blob.size) == DATA
    assert not blob.file.has_name()


def test_a_handle_closes_with_its_last_reader(store: Store) -> None:
    give(store)
    before = descriptors()
    blob = store.blobs.open(HUB_APP, DIGEST)
    again = blob
    assert len(descriptors() - before) == 1
    del blob
    assert len(descriptors() - before) == 1
    del again
    assert not descriptors() - before


def test_a_use_is_noted_at_most_once_a_minute(store: Store) -> None:
    give(store)
    path = store.layout.blob(DIGEST)
    recent = time.time() - TOUCH_SECONDS / 2
    for used, touched in ((recent, False), (recent - TOUCH_SECONDS, True)):
        os.utime(path, (used, used))
        store.read(DIGEST)
        assert (os.stat(path).st_mtime > used + 1) is touched


def test_a_store_mounted_read_only_still_hits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    give(store)
    os.utime(store.layout.blob(DIGEST), (0, 0))

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(os, "utime", refuse)
    assert store.read(DIGEST) == DATA


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.ENOSPC])
def test_a_file_system_without_attributes_serves_too(store: Store, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, "no attributes")

    monkeypatch.setattr(os, "setxattr", refuse)
    give(store)
    assert store.read(DIGEST) == DATA


def test_a_recorded_size_that_is_no_number_is_none(store: Store) -> None:
    give(store)
    path = store.layout.blob(DIGEST)
    os.chmod(path, 0o644)
    os.setxattr(path, "user.registry_cache.size", b"many")
    assert store.read(DIGEST) == DATA


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("data", [b"", b"x", DATA])
def test_any_size_and_both_algorithms(store: Store, algorithm: str, data: bytes) -> None:
    digest = store.put(data, algorithm)
    store.blobs.grant(HUB_APP, digest)
    assert store.read(digest) == data


FULL = [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.EROFS]


@pytest.mark.parametrize("code", [*FULL, errno.EACCES])
@pytest.mark.parametrize("name", ["open", "write", "fchmod", "fsync", "rename", "mkdir"])
def test_a_disk_that_fails_while_adding(tmp_path: Path, name: str, code: int) -> None:
    for store, error in each_failing_call(name, code, tmp_path, lambda store: store.blobs.add(DIGEST, DATA)):
        assert error is None or os.strerror(code) in error.message
        assert error is None or type(error) is (StoreFull if code in FULL else StoreError)
        assert not [path for path in store.files("blobs") if "/." in path]
        store.blobs.add(DIGEST, DATA)
        assert store.blobs.open_any(DIGEST)


@pytest.mark.parametrize("code", FULL)
def test_a_disk_that_fails_while_granting(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    store.put(DATA)
    fail_at(monkeypatch, "link", 1, code, tmp_path)
    with pytest.raises(StoreFull):
        store.blobs.grant(HUB_APP, DIGEST)
    assert store.read(DIGEST) is None
    assert store.blobs.grant(HUB_APP, DIGEST)


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.EACCES])
def test_a_disk_that_fails_while_opening(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    give(store)
    for look in (partial(store.blobs.open, HUB_APP), store.blobs.open_any):
        with monkeypatch.context() as patched:
            fail_at(patched, "open", 1, code, tmp_path)
            with pytest.raises(StoreError):
                look(DIGEST)
    assert store.read(DIGEST) == DATA
