"""Whatever the umask, the group of the cache reads the store and other users do not."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_cache.store import modes
from registry_cache.store.layout import Layout
from registry_cache.store.upstream_notes import UpstreamNote
from tests.harness.cleanup_rig import Shelf

# By 0777 only root can go on: nobody else may enter a folder that they have just made.
ALL_BITS = pytest.param(0o777, marks=pytest.mark.needs_root)


@pytest.fixture(params=[0o000, 0o022, 0o077, ALL_BITS], ids=lambda mask: f"{mask:o}")
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_all_that_a_store_holds(umask: int, tmp_path: Path) -> None:
    root = tmp_path / "above" / "store"
    shelf = Shelf(root)
    shelf.image(shelf.layer(b"layer"), tag="1")
    UpstreamNote(shelf.layout, "docker.io").change("down", lambda _: {"since": 1})
    with shelf.store.partials.claim(shelf.layer(b"next")) or pytest.fail("taken") as claim, claim.partial():
        shelf.clean(max_size=1)

    assert mode(root) == modes.FOLDER
    found = {path: mode(path) for path in root.rglob("*") if path.suffix != ".lock"}
    assert {mode for path, mode in found.items() if path.is_dir()} == {modes.FOLDER}
    assert {mode for path, mode in found.items() if path.is_file()} <= {modes.FILE, modes.SEALED}
    assert {
        mode for path, mode in found.items() if path.parent.name == "sha256" and path.suffix == ".oci-manifest"
    } <= {modes.SEALED}


def test_a_store_of_an_older_version_is_closed_to_others(tmp_path: Path) -> None:
    layout = Layout.open(tmp_path / "store")
    for folder in (layout.blobs, layout.repositories):
        os.chmod(folder, 0o2775)  # noqa: S103 (what a umask of 002 once made)
    Layout.open(tmp_path / "store")
    assert [mode(Path(folder)) for folder in (layout.blobs, layout.repositories)] == [0o2770, 0o2770]


@pytest.mark.parametrize("code", [errno.EROFS, errno.EOPNOTSUPP, errno.EPERM])
def test_a_file_system_without_modes_is_no_reason_not_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    (tmp_path / "open").mkdir()
    os.chmod(tmp_path / "open", 0o777)  # noqa: S103 (what is to be closed)

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "chmod", refuse)
    modes.close_to_others(str(tmp_path / "open"))


def test_a_folder_hands_on_its_group(tmp_path: Path) -> None:
    tmp_path.chmod(0o2755)
    before = os.umask(0o077)
    try:
        modes.make_folders(str(tmp_path / "a" / "b"))
    finally:
        os.umask(before)
    assert [mode(tmp_path / name) for name in ("a", "a/b")] == [0o2750, 0o2750]


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="exists"):
        modes.make_folders(str(tmp_path / "file"))
