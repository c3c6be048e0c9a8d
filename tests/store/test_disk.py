"""What has the name of a file of the store and is none is neither waited for nor followed: it is missing."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import parse_manifest
from registry_cache.oci.names import FullName, Repository, Tag
from registry_cache.store import disk
from registry_cache.store.record_format import TagRecord
from registry_cache.store.repositories import repositories
from tests.harness.content import OCI_MANIFEST
from tests.harness.store_rig import APP, HUB, HUB_APP, Store, open_store

DATA = b"layer " * 1000
DIGEST = Digest.of(DATA)
SECRET = b"of another program"
TAG = Tag("1")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file beside the store."""
    path = tmp_path / "outside" / DIGEST.hex
    path.parent.mkdir()
    path.write_bytes(SECRET)
    return path


def pipe(path: str, _: Path) -> None:
    os.mkfifo(path)


def link(path: str, outside: Path) -> None:
    os.symlink(outside, path)


def relative_link(path: str, outside: Path) -> None:
    os.symlink(os.path.relpath(outside, os.path.dirname(path)), path)


def circle(path: str, _: Path) -> None:
    os.symlink(os.path.basename(path), path)


def device(path: str, _: Path) -> None:
    os.symlink("/dev/zero", path)


def unix_socket(path: str, _: Path) -> None:
    # The name of a socket may have a hundred bytes; it can be moved anywhere.
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{short}/s")
        os.rename(f"{short}/s", path)


Plant = Callable[[str, Path], None]
NO_FILES = pytest.mark.parametrize("plant", [pipe, link, relative_link, circle, device, unix_socket])


def replace(path: str, plant: Plant, outside: Path) -> None:
    os.unlink(path)
    plant(path, outside)


@NO_FILES
def test_a_membership_that_is_no_file_is_a_miss_and_granted_anew(store: Store, outside: Path, plant: Plant) -> None:
    store.put(DATA)
    store.blobs.grant(HUB_APP, DIGEST)
    replace(store.layout.membership(HUB_APP, DIGEST), plant, outside)
    assert store.read(DIGEST) is None
    assert store.blobs.grant(HUB_APP, DIGEST)
    assert store.read(DIGEST) == DATA
    assert outside.read_bytes() == SECRET


@NO_FILES
def test_a_blob_that_is_no_file_is_written_anew(store: Store, outside: Path, plant: Plant) -> None:
    store.put(DATA)
    replace(store.layout.blob(DIGEST), plant, outside)
    assert store.blobs.open_any(DIGEST) is None
    store.blobs.add(DIGEST, DATA)
    assert store.blobs.open_any(DIGEST)
    assert outside.read_bytes() == SECRET


@NO_FILES
def test_a_tag_that_is_no_file_is_asked_for_anew(store: Store, outside: Path, plant: Plant) -> None:
    record = TagRecord(DIGEST, OCI_MANIFEST, 1, NOW, NOW, None)
    store.records.put_tag(HUB_APP, TAG, record)
    replace(store.layout.tag(HUB_APP, TAG), plant, outside)
    assert store.records.tag(HUB_APP, TAG) is None
    store.records.put_tag(HUB_APP, TAG, record)
    assert store.records.tag(HUB_APP, TAG)


@NO_FILES
@pytest.mark.parametrize("suffix", ["json", "oci-manifest"])
def test_a_manifest_that_is_no_file_is_a_miss_and_kept_anew(
    store: Store, outside: Path, plant: Plant, suffix: str
) -> None:
    data = b'{"schemaVersion":2,"mediaType":"%s"}' % OCI_MANIFEST.encode()
    digest = Digest.of(data)
    store.records.put_manifest(HUB_APP, digest, data, parse_manifest(data))
    replace(store.layout.manifest(HUB_APP, digest, suffix), plant, outside)
    assert store.records.manifest(HUB_APP, digest) is None
    store.records.put_manifest(HUB_APP, digest, data, parse_manifest(data))
    assert store.records.manifest(HUB_APP, digest)


@NO_FILES
def test_a_partial_that_is_no_file_gives_way(store: Store, outside: Path, plant: Plant) -> None:
    plant(store.layout.partial(DIGEST), outside)
    assert store.partials.open(DIGEST) is None
    claim = store.partials.claim(DIGEST)
    assert claim
    with claim, claim.partial() as partial:
        partial.append(DATA)
        partial.commit(HUB)
    assert store.blobs.open_any(DIGEST)
    assert outside.read_bytes() == SECRET


@pytest.mark.parametrize("at", ["repositories/{up}", "repositories/{up}/{name}", "repositories/{up}/{name}/_blobs"])
def test_a_folder_that_is_a_link_out_of_the_store_is_not_followed(store: Store, tmp_path: Path, at: str) -> None:
    store.put(DATA)
    store.blobs.grant(HUB_APP, DIGEST)
    inside = Path(store.layout.root, at.format(up=HUB, name=APP))
    inside.rename(tmp_path / "elsewhere")
    inside.symlink_to(tmp_path / "elsewhere")
    assert store.read(DIGEST) is None


def test_a_top_folder_may_be_on_another_disk_and_the_store_behind_a_link(store: Store, tmp_path: Path) -> None:
    store.put(DATA)
    store.blobs.grant(HUB_APP, DIGEST)
    for name in ("blobs", "repositories"):
        shutil.move(f"{store.layout.root}/{name}", tmp_path / name)
        Path(store.layout.root, name).symlink_to(tmp_path / name)
    (tmp_path / "link").symlink_to(store.layout.root)
    assert open_store(tmp_path / "link").read(DIGEST) == DATA


def test_a_circle_of_folders_is_walked_once(store: Store) -> None:
    store.records.put_tag(HUB_APP, TAG, TagRecord(DIGEST, OCI_MANIFEST, 1, NOW, NOW, None))
    Path(store.layout.repositories, HUB, "round").symlink_to(Path(store.layout.repositories, HUB))
    assert list(store.records.repositories(HUB)) == [str(APP)]
    assert len(list(repositories(store.layout))) == 1


def test_a_source_may_be_a_link_and_no_pipe(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "index.json").symlink_to(outside)
    os.mkfifo(tmp_path / "pipe")
    assert disk.read_source(str(tmp_path / "index.json")) == SECRET
    assert disk.read_source(str(tmp_path / "pipe")) is None


def test_a_repository_may_be_called_as_the_parts_of_a_store(store: Store) -> None:
    repository = Repository.parse("blobs/repositories/layout")
    store.put(DATA)
    assert store.blobs.grant(FullName(HUB, repository), DIGEST)
    assert store.read(DIGEST, repository) == DATA
