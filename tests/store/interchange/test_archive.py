"""Archives: the same bytes for the same content, complete or not there, and no wrong byte in one that is."""

from __future__ import annotations

import errno
import io
import os
import tarfile
from pathlib import Path

import pytest

from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.oci.image_layout import LAYOUT
from registry_cache.store.interchange.archive import ArchiveWriter, write_file_whole
from tests.harness.store_rig import Store, descriptors, fail_at

INDEX = b'{"manifests":[]}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


def put(store: Store, *contents: bytes) -> dict[Digest, int]:
    return {store.put(data): len(data) for data in contents}


def write(store: Store, path: Path, sizes: dict[Digest, int]) -> list[tuple[int, int]]:
    told: list[tuple[int, int]] = []
    with write_file_whole(path) as descriptor:
        size = ArchiveWriter(descriptor, str(path)).write(
            store.blobs, INDEX, sizes, lambda done, total: told.append((done, total))
        )
    assert path.stat().st_size == size
    return told


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {entry.name: file.read() for entry in tar if (file := tar.extractfile(entry))}


def test_it_holds_what_it_was_given(store: Store, folder: Path) -> None:
    long = store.put(b"named by 128 letters", "sha512")
    sizes = put(store, b"", b"x", b"y" * 512, os.urandom(3 * 1024 * 1024 + 7)) | {long: 20}
    told = write(store, folder / "a.tar", sizes)
    found = members((folder / "a.tar").read_bytes())
    assert list(found)[:2] == ["oci-layout", "index.json"]
    assert (found.pop("oci-layout"), found.pop("index.json")) == (LAYOUT, INDEX)
    assert found == {f"blobs/{each.algorithm}/{each.hex}": _bytes(store, each) for each in sizes}
    assert told[-1] == (sum(sizes.values()), sum(sizes.values()))


def test_the_same_content_is_the_same_bytes(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = put(store, b"one", b"two", b"three")
    write(store, folder / "a.tar", sizes)
    monkeypatch.setattr("time.time", lambda: 1.0)
    write(store, folder / "b.tar", dict(reversed(sizes.items())))
    assert (folder / "a.tar").read_bytes() == (folder / "b.tar").read_bytes()


def test_a_flipped_bit_is_named_and_the_old_archive_stays(store: Store, folder: Path) -> None:
    sizes = put(store, b"right")
    write(store, folder / "a.tar", sizes)
    before = (folder / "a.tar").read_bytes()
    (digest,) = sizes
    path = Path(store.layout.blob(digest))
    path.chmod(0o644)
    path.write_bytes(b"wrong")
    with pytest.raises(StoreError, match=f"{digest} is damaged.* verify --repair"):
        write(store, folder / "a.tar", sizes)
    assert [each.name for each in folder.iterdir()] == ["a.tar"]
    assert (folder / "a.tar").read_bytes() == before


def test_a_blob_that_went_meanwhile_is_named(store: Store, folder: Path) -> None:
    digest = Digest.of(b"evicted")
    with pytest.raises(StoreError, match=f"{digest} was evicted .* again"):
        write(store, folder / "a.tar", {digest: 7})
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_full_disk_leaves_nothing(store: Store, folder: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, before = put(store, b"some bytes"), descriptors()
    fail_at(monkeypatch, call, 1, errno.ENOSPC, folder)
    with pytest.raises(StoreError, match=r"could not write .*a\.tar: No space left"):
        write(store, folder / "a.tar", sizes)
    assert list(folder.iterdir()) == []
    assert not descriptors() - before


def test_what_is_no_file_is_not_replaced(store: Store, folder: Path) -> None:
    (folder / "a.tar").mkdir()
    for place in (folder / "a.tar", Path("/dev/null")):
        with pytest.raises(StoreError, match="is not a file"):
            write(store, place, {})
    with pytest.raises(StoreError, match="No such file"):
        write(store, folder / "none" / "a.tar", {})


def _bytes(store: Store, digest: Digest) -> bytes:
    found = store.blobs.open_any(digest)
    assert found
    return found.file.read_at(0, found.size)
