"""A file is there whole or not at all, and what was begun beside it is gone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from registry_cache.store import atomic_write


def test_a_file_appears_at_the_end_of_the_block(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with atomic_write.replacing(str(path), synced=True) as descriptor:
        atomic_write.write_all(descriptor, b"bytes")
        assert not path.exists()
        [beside] = path.parent.iterdir()
        assert beside.name.startswith(".")
    assert path.read_bytes() == b"bytes"
    assert list(path.parent.iterdir()) == [path]


def test_a_block_that_raises_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write_half() -> None:
        with atomic_write.replacing(str(path)) as descriptor:
            os.write(descriptor, b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_made_only_where_that_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "file"
    with pytest.raises(FileNotFoundError), atomic_write.replacing(str(path), make_folders=False):
        pass
    assert not path.parent.exists()
    atomic_write.write_whole(str(path), b"bytes", modified=10**9)
    assert (path.read_bytes(), os.stat(path).st_mtime) == (b"bytes", 1.0)
