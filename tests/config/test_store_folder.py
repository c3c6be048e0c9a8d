"""The folder that everything is stored in, where the disk refuses."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from registry_cache.runtime.users import name_of_user
from tests.harness.config_files import Loader

OWNER = 54321  # nobody's on this machine
ROOT = "storage.filesystem.rootdirectory"


def refusing(number: int) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_server_that_restarts_goes_on_with_a_full_disk(
    loader: Loader, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    loader.load().root.mkdir(exist_ok=True)
    monkeypatch.setattr("tempfile.TemporaryFile", refusing(number))
    assert loader.load().root.is_dir()


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.EROFS, "it is read-only here: by its systemd unit, or its disk is, perhaps since an error; "),
        (
            errno.EROFS,
            "; name it in the unit's ReadWritePaths, or look at dmesg and mount it for writing, or name another folder",
        ),
        (errno.EACCES, f"may write in, or give it that one: chown -R {name_of_user()} /"),
        (errno.EIO, "Input/output error; name a folder that user"),
    ],
)
def test_a_disk_that_refuses_is_told_with_what_helps(
    loader: Loader, monkeypatch: pytest.MonkeyPatch, number: int, told: str
) -> None:
    loader.load().root.mkdir(exist_ok=True)
    monkeypatch.setattr("tempfile.TemporaryFile", refusing(number))
    assert told in str(loader.problems()[ROOT])


def test_a_folder_that_has_no_room_is_not_made(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: not str(path).startswith(str(loader.folder)))
    monkeypatch.setattr(Path, "mkdir", refusing(errno.ENOSPC))
    assert "the disk is full; make room: df, and df --inodes" in str(loader.problems()[ROOT])


def test_nobody_is_told_to_take_another_users_store(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server runs on it, and would find that it may not write there."""
    root = loader.load().root
    root.mkdir(exist_ok=True)
    (root / "layout").touch()
    if os.geteuid() == 0:
        os.chown(root, OWNER, OWNER)
    owner = root.stat().st_uid
    monkeypatch.setattr("tempfile.TemporaryFile", refusing(errno.EACCES))
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    told = str(loader.problems()[ROOT])
    assert "chown" not in told
    assert re.search(r": user \S+ owns this store; run this as root or as user \S+, or name another folder$", told)


def test_a_folder_below_one_that_nobody_may_enter(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    """pathlib raises where it is asked what lies there."""
    monkeypatch.setattr(Path, "exists", refusing(errno.EACCES))
    monkeypatch.setattr(Path, "is_dir", refusing(errno.EACCES))
    assert "Permission denied; name a folder that user" in str(loader.problems()[ROOT])
