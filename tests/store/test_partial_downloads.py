"""The bytes of an unfinished blob: one writer, who only appends; whatever kills it, the next goes on or starts anew."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from registry_cache.errors import (
    BlobUnknown,
    RegistryError,
    StoreError,
    StoreFull,
    TooManyRequests,
    UpstreamCorrupt,
)
from registry_cache.oci.digest import Digest
from registry_cache.store.download_status import DownloadStatus, failed_status
from registry_cache.store.partial_downloads import Claim
from tests.harness.store_rig import (
    HUB_APP,
    Store,
    children,
    each_failing_call,
    fail_at,
    obey_modes,
    open_store,
)

DATA = bytes(range(256)) * 400
HALF = len(DATA) // 2
DIGEST = Digest.of(DATA)

LEAD = """
import sys, time
from pathlib import Path
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Repository
from registry_cache.store.layout import Layout
from registry_cache.store.download_status import DownloadStatus
from registry_cache.store.partial_downloads import Partials
claim = Partials(Layout(Path(sys.argv[1]))).claim(Digest.parse(sys.argv[2]))
partial = claim.partial()
claim.publish(DownloadStatus(FullName("docker.io", Repository("library/app")), time.time(), 102400))
partial.append((bytes(range(256)) * 400)[: int(sys.argv[3])])
print(partial.size, flush=True)
sys.stdin.readline()
"""


def claimed(store: Store) -> Claim:
    claim = store.partials.claim(DIGEST)
    assert claim is not None
    return claim


def test_one_leader_at_a_time(store: Store) -> None:
    with claimed(store):
        assert store.partials.claim(DIGEST) is None
        other = store.partials.claim(Digest.of(b"another"))
        assert other is not None
        with other:
            pass
    with claimed(store):
        pass
    assert store.files("locks") == set()


def test_a_claim_alone_leaves_nothing(store: Store) -> None:
    with claimed(store):
        assert store.partials.open(DIGEST) is None
        assert store.partials.status(DIGEST) is None
    assert store.files() == {"layout"}


def test_nothing_is_under_blobs_before_the_commit_and_all_is_after(store: Store) -> None:
    with claimed(store) as claim, claim.partial() as partial:
        for at in range(0, len(DATA), 10_000):
            partial.append(DATA[at : at + 10_000])
            assert store.files("blobs") == set()
        assert partial.digest() == DIGEST
        follower = store.partials.open(DIGEST)
        assert follower is not None
        partial.commit()
        assert store.files("partial") == set()
    blob = store.blobs.open_any(DIGEST)
    assert blob is not None
    assert blob.file.is_same_file(follower)
    assert follower.read_at(0, len(DATA) + 1) == DATA
    assert os.stat(store.layout.blob(DIGEST)).st_mode & 0o777 == 0o440


def test_a_follower_sees_what_is_there(store: Store) -> None:
    with claimed(store) as claim, claim.partial() as partial:
        partial.append(DATA[:100])
        follower = store.partials.open(DIGEST)
        assert follower is not None
        assert follower.size() == 100
        partial.append(DATA[100:300])
        assert follower.read_at(50, 1000) == DATA[50:300]
        assert partial.handle().is_same_file(follower)


def test_discarding_leaves_a_followers_bytes_alone(store: Store) -> None:
    with claimed(store) as claim:
        with claim.partial() as partial:
            partial.append(b"wrong" * 100)
            follower = store.partials.open(DIGEST)
            assert follower is not None
            partial.discard()
            assert not follower.has_name()
        with claim.partial() as partial:
            assert partial.size == 0
            partial.append(DATA)
        assert follower.read_at(0, 1000) == b"wrong" * 100


def test_what_a_killed_leader_wrote_is_gone_on_with(store: Store) -> None:
    with children(LEAD, store.layout.root, DIGEST, HALF) as (leader,):
        assert leader.says() == str(HALF)
        assert store.partials.claim(DIGEST) is None
        leader.kill()
    status = store.partials.status(DIGEST)
    assert status is not None
    assert (status.size, status.error) == (len(DATA), None)
    with claimed(store) as claim, claim.partial() as partial:
        assert partial.size == HALF
        assert partial.digest() == Digest.of(DATA[:HALF])
        partial.append(DATA[HALF:])
        assert partial.digest() == DIGEST
        partial.commit()
    store.blobs.grant(HUB_APP, DIGEST)
    assert store.read(DIGEST) == DATA


def test_a_leader_that_died_between_sealing_and_naming_blocks_nobody(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with claimed(store) as claim, claim.partial() as partial, monkeypatch.context() as patched:
        partial.append(DATA)
        fail_at(patched, "rename", 1, errno.EIO, tmp_path)
        with pytest.raises(StoreFull):
            partial.commit()
    assert os.stat(store.layout.partial(DIGEST)).st_mode & 0o777 == 0o440
    obey_modes(monkeypatch)
    with claimed(store) as claim, claim.partial() as partial:
        assert partial.digest() == DIGEST
        partial.commit()
    assert os.stat(store.layout.blob(DIGEST)).st_mode & 0o777 == 0o440


@pytest.mark.parametrize(
    "error",
    [
        BlobUnknown("gone"),
        TooManyRequests("later", retry_after=7.5),
        UpstreamCorrupt("bad", detail={"wanted": "a", "found": "b"}),
    ],
)
def test_a_leaders_error_reaches_other_processes(store: Store, error: RegistryError) -> None:
    before = time.time()
    with claimed(store) as claim:
        claim.publish(failed_status(HUB_APP, error))
    status = open_store(Path(store.layout.root)).partials.status(DIGEST)
    assert status is not None
    assert status.owner == HUB_APP
    assert before <= status.at <= time.time()
    told = status.error
    assert told is not None
    assert type(told) is type(error)
    assert (told.message, told.detail, told.retry_after) == (error.message, error.detail, error.retry_after)


@pytest.mark.parametrize(
    "torn",
    [
        *(b"", b"{", b"[]", b"null", b"5", b'"x"', b"{}", b"\xff\xfe", b'{"upstream": "a"}', b"\0" * 100),
        b"[" * 100_000,
        b'{"upstream":"a","repository":"b","at":"soon","size":null,"failed":null}',
        b'{"upstream":"a","repository":"b","at":1,"size":1e999,"failed":null}',
    ],
)
def test_a_torn_status_is_none(store: Store, torn: bytes) -> None:
    Path(store.layout.status(DIGEST)).write_bytes(torn)
    assert store.partials.status(DIGEST) is None


def test_a_status_of_a_newer_version_is_an_error_all_the_same(store: Store) -> None:
    record = b'{"upstream":"a","repository":"b","at":1,"size":null,"failed":{"error":"Tomorrow","message":"m"},"x":1}'
    Path(store.layout.status(DIGEST)).write_bytes(record)
    status = store.partials.status(DIGEST)
    assert status is not None
    assert type(status.error) is RegistryError


def whole(store: Store) -> None:
    """A download, as far as the disk is concerned."""
    with claimed(store) as claim, claim.partial() as partial:
        claim.publish(DownloadStatus(HUB_APP, time.time(), len(DATA)))
        partial.append(DATA[:HALF])
        partial.append(DATA[HALF:])
        partial.commit()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("name", ["open", "write", "rename", "fsync", "mkdir", "fchmod"])
def test_a_disk_that_fails_at_any_call(tmp_path: Path, name: str, code: int) -> None:
    for store, error in each_failing_call(name, code, tmp_path, whole):
        assert error is None or (type(error) is StoreFull and os.strerror(code) in error.message)
        assert store.files("locks") == set()
        # The disk works again: whatever was left, this brings it to its end.
        assert store.put(DATA) == DIGEST
        assert store.blobs.open_any(DIGEST)


def test_a_full_disk_that_took_a_part_of_a_chunk(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    really = os.write

    def half(descriptor: int, data: bytes) -> int:
        return really(descriptor, data[: max(1, len(data) // 2)])

    with claimed(store) as claim, claim.partial() as partial:
        monkeypatch.setattr(os, "write", half)
        fail_at(monkeypatch, "write", 4, errno.ENOSPC, tmp_path)
        with pytest.raises(StoreFull):
            partial.append(DATA)
        assert partial.size == 0
    monkeypatch.undo()
    with claimed(store) as claim, claim.partial() as partial:
        assert 0 < partial.size < len(DATA)
        assert partial.digest() == Digest.of(DATA[: partial.size])
        partial.append(DATA[partial.size :])
        partial.commit()
    assert store.blobs.open_any(DIGEST)


def test_no_descriptor_left_for_a_reader_is_a_store_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with claimed(store) as claim, claim.partial() as partial:
        monkeypatch.setattr(os, "dup", none_left)
        with pytest.raises(StoreFull):
            partial.handle()


def test_a_reader_of_a_disk_that_fails_gets_a_store_error(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for ask in (store.partials.open, store.partials.status, store.partials.claim):
        with monkeypatch.context() as patched:
            fail_at(patched, "open", 1, errno.EIO, tmp_path)
            with pytest.raises(StoreError):
                ask(DIGEST)


def test_a_folder_that_an_operator_has_cleared_is_made_again(store: Store, tmp_path: Path) -> None:
    for folder in ("locks/sha256", "blobs/sha256"):
        (tmp_path / "store" / folder).rmdir()
    store.put(DATA)
    assert store.blobs.open_any(DIGEST)
