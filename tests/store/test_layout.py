"""Where things lie: paths that stay in their folder, and a folder that is ours or refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Repository, Tag
from registry_cache.store.layout import VERSION, Layout

DIGEST = Digest.of(b"x")


def test_a_new_folder_is_made_ready_and_opens_again(tmp_path: Path) -> None:
    root = tmp_path / "not" / "there"
    for _ in range(2):
        Layout.open(root)
        assert (root / "layout").read_bytes() == VERSION
    folders = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_dir()}
    assert folders >= {"blobs/sha256", "blobs/sha512", "partial/sha256", "locks/flights", "repositories"}


@pytest.mark.parametrize("found", [b"2\n", b"1", b"something else\n" * 100])
def test_another_layout_is_refused_and_left_alone(tmp_path: Path, found: bytes) -> None:
    (tmp_path / "layout").write_bytes(found)
    with pytest.raises(StoreError, match=r"layout .* reads"):
        Layout.open(tmp_path)
    assert os.listdir(tmp_path) == ["layout"]


@pytest.mark.parametrize("left", [b"", bytes(len(VERSION))])
def test_an_empty_stamp_is_what_a_power_cut_leaves(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "layout").write_bytes(left)
    Layout.open(tmp_path)
    assert (tmp_path / "layout").read_bytes() == VERSION


def test_a_root_that_is_a_file_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    with pytest.raises(StoreError, match="root"):
        Layout.open(tmp_path / "root")


def test_every_path_is_under_the_root_and_no_two_are_the_same() -> None:
    layout = Layout(Path("/root"))
    names = [FullName("hub", Repository.parse(name)) for name in ("a", "a/b", "a/b/c", "manifests/blobs")]
    digests = [DIGEST, Digest.of(b"x", "sha512")]
    paths = [layout.tags(name) for name in names]
    for name in names:
        paths += [layout.tag(name, Tag.parse(tag)) for tag in ("1", "_1", "sha256", "blobs")]
        for digest in digests:
            paths += [layout.manifest(name, digest, kind) for kind in ("json", "oci-index", "other")]
            paths += [layout.membership(name, digest), layout.referrers(name, digest)]
    for digest in digests:
        paths += [layout.blob(digest), layout.partial(digest), layout.status(digest), layout.lock(digest)]
    paths += [layout.flight(key) for key in ("a", "../../etc/passwd", "x" * 1000, "ü\0")]
    assert len(set(paths)) == len(paths)
    assert all(os.path.normpath(path) == path and path.startswith("/root/") for path in paths)
    assert all(len(part) <= 255 for path in paths for part in path.split("/"))


@pytest.mark.parametrize(("found", "word"), [(b"2\n", "2"), (b"x\x1b[2J", r"x\x1b[2J")])
def test_another_layout_is_named_as_a_person_writes_it(tmp_path: Path, found: bytes, word: str) -> None:
    (tmp_path / "layout").write_bytes(found)
    with pytest.raises(StoreError) as caught:
        Layout.open(tmp_path)
    assert f"holds a store of layout {word}, this version reads 1: " in caught.value.message
