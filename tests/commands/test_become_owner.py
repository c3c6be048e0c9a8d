"""What root types is done by the store's owner, who must be able to change what was written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_cache.commands.command import become_owner
from registry_cache.errors import StoreError
from registry_cache.store.layout import Layout
from tests.harness.programs import PROGRAM, run, short_folder

OWNER = 54321  # nobody's on this machine


@pytest.fixture
def root() -> Iterator[Path]:
    with short_folder() as folder:
        folder.chmod(0o755)
        yield folder / "store"


def typed(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(root), "PATH": os.defpath}
    return run([PROGRAM, *arguments], environment)


@pytest.mark.needs_root
@pytest.mark.parametrize("arguments", [("cleanup",), ("verify", "--repair"), ("pin", "library/app:1")])
def test_what_root_types_belongs_to_the_stores_owner(root: Path, arguments: tuple[str, ...]) -> None:
    Layout.open(root)
    for path in (root, *root.rglob("*")):
        os.chown(path, OWNER, OWNER)

    done = typed(root, *arguments)

    assert (done.returncode, done.stderr) == (0, "")
    assert {(path.stat().st_uid, path.stat().st_gid) for path in (root, *root.rglob("*"))} == {(OWNER, OWNER)}
    written = {"cleanup": "ledger", "pin": "pins.json"}.get(arguments[0], ".")
    assert (root / written).exists()


def test_who_may_not_is_told_what_to_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Layout.open(root)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Path, "stat", lambda _: os.stat_result((0o40755, 0, 0, 0, OWNER, OWNER, 0, 0, 0, 0)))

    def refuse(_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setgroups", refuse)
    with pytest.raises(StoreError, match=f"belongs to user {OWNER}, whom we may not become: run this as that user"):
        become_owner(root)


def test_nobody_else_becomes_anybody(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "setuid", lambda _: pytest.fail("became somebody else"))
    become_owner(root)
    Layout.open(root)
    become_owner(root)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    become_owner(root)
