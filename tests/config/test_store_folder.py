"""The folder that everything is stored in, where the disk refuses."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.config_files import Loader

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
        (errno.EACCES, f"may write in, or give it that one: chown -R {os.geteuid()} /"),
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
