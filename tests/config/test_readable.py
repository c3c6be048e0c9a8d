"""Why a file cannot be read, and what to do that takes nothing from whoever can."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from registry_cache.config.readable import cannot_read

THEIRS = 54321  # a group that has no name, as in a container


def remedy(path: Path) -> str:
    return cannot_read(str(path), PermissionError(13, "Permission denied")).remedy


def test_a_file_of_nobody_else_is_given_to_our_group(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.touch(mode=0o600)
    assert remedy(file).endswith(f" {file}; chmod g+r {file}")


@pytest.mark.needs_root
@pytest.mark.parametrize("what", ["file", "folder"])
def test_where_a_group_may_the_user_goes_into_that_one(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "private" / "key.pem"
    file.parent.mkdir()
    file.touch()
    if what == "folder":
        os.chown(file.parent, -1, THEIRS)
        file.parent.chmod(0o710)
        monkeypatch.setattr(os, "access", lambda path, *_, **__: Path(path) != file.parent)
    else:
        os.chown(file, -1, THEIRS)
        file.chmod(0o640)
    assert remedy(file).startswith(
        f"group {THEIRS} may: run this as root or as a member of it, or add this user to it: "
    )
    assert "chgrp" not in remedy(file)


@pytest.mark.needs_root
def test_nobody_is_sent_into_the_group_of_root(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.touch()
    os.chown(file, -1, 0)
    file.chmod(0o640)
    assert "adduser" not in remedy(file)
