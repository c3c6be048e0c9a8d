"""What root types is done by the store's owner, who must be able to change what was written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry_cache.commands.start import as_owner, as_server_reads_it, become_owner, become_owner_if_allowed
from registry_cache.config import load_config
from registry_cache.errors import StoreError
from registry_cache.store.layout import Layout
from tests.harness.import_rig import layout_files, tar_of
from tests.harness.programs import PROGRAM, run, short_folder

OWNER = 54321  # nobody's on this machine


@pytest.fixture
def root() -> Iterator[Path]:
    with short_folder() as folder:
        folder.chmod(0o755)
        yield folder / "store"


def typed(root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(root), "PATH": os.defpath, **variables}
    return run([PROGRAM, *arguments], environment)


@pytest.mark.needs_root
@pytest.mark.parametrize(
    "arguments",
    [
        ("cleanup",),
        ("verify", "--repair"),
        ("pin", "library/app:1"),
        ("status",),
        ("pins",),
        ("import", "ARCHIVE"),
        ("list",),
    ],
)
def test_what_root_types_belongs_to_the_stores_owner(root: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    Layout.open(root)
    for path in (root, *root.rglob("*")):
        os.chown(path, OWNER, OWNER)

    # In a folder that only root may look into.
    archive = tmp_path / "archive.tar"
    archive.write_bytes(tar_of(layout_files([])))
    tmp_path.chmod(0o700)

    done = typed(root, *(str(archive) if word == "ARCHIVE" else word for word in arguments))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"configuration: built-in defaults and the environment; store: {root}\n")
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


@pytest.mark.needs_root
def test_an_export_writes_where_only_root_may(root: Path, tmp_path: Path) -> None:
    Layout.open(root)
    for path in (root, *root.rglob("*")):
        os.chown(path, OWNER, OWNER)
    tmp_path.chmod(0o700)

    with as_owner(root):
        assert os.geteuid() == OWNER
        (root / "new").touch()
    (tmp_path / "archive").touch()

    assert ((root / "new").stat().st_uid, (tmp_path / "archive").stat().st_uid) == (OWNER, 0)


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["cleanup"], 1), (["verify", "--repair"], 1), (["cleanup", "--dry-run"], 0), (["verify"], 0), (["status"], 0)],
)
def test_another_user_may_look_and_is_told_why_not_more(root: Path, arguments: list[str], status: int) -> None:
    Layout.open(root)
    # As an operator may have opened it, so that others can look.
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    other = ["setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--clear-groups"]
    environment = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(root), "PATH": os.defpath}

    done = run([*other, PROGRAM, *arguments], environment)

    told = f"registry-cache: user {OWNER} may not write in {root}: run this as root, or as user root, who owns it\n"
    assert (done.returncode, done.stderr) == (status, told if status else "")


@contextmanager
def as_stranger() -> Iterator[None]:
    os.seteuid(OWNER)
    try:
        yield
    finally:
        os.seteuid(0)


def looks_as_owner(root: Path) -> None:
    with as_owner(root):
        pass


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("verb", "may_not"),
    [(become_owner, "write in"), (become_owner_if_allowed, "read"), (looks_as_owner, "read")],
)
def test_who_may_not_even_look_is_told_who_may(root: Path, verb: Callable[[Path], None], may_not: str) -> None:
    root.mkdir(mode=0o700)
    with as_stranger(), pytest.raises(StoreError) as caught:
        verb(root)
    assert caught.value.message == (
        f"user {OWNER} may not {may_not} {root}: run this as root, or as user root, who owns it"
    )

    root.parent.chmod(0o700)
    with as_stranger(), pytest.raises(StoreError) as caught:
        verb(root)
    assert caught.value.message == (
        f"user {OWNER} may not enter a folder above {root}: run this as root, or as the server's user"
    )


@pytest.mark.parametrize("verb", [become_owner, become_owner_if_allowed, looks_as_owner])
def test_a_store_that_is_not_there_is_no_question_of_rights(root: Path, verb: Callable[[Path], None]) -> None:
    verb(root)
    root.write_bytes(b"")
    verb(root / "below a file")


@pytest.mark.needs_root
def test_an_owner_who_may_not_is_told_of_the_mode(root: Path) -> None:
    root.mkdir(mode=0o000)
    os.chown(root, OWNER, OWNER)
    with as_stranger(), pytest.raises(StoreError, match=f"may not read {root}: its own mode forbids it: chmod u.rwx"):
        become_owner_if_allowed(root)


def test_a_disk_that_has_become_read_only_is_nobodys_right(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Layout.open(root)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    found = list(os.statvfs(root))
    found[8] = os.ST_RDONLY
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(found))
    with pytest.raises(StoreError, match=f"nobody may write in {root}: it is read-only here: .*: name it in "):
        become_owner(root)


@pytest.mark.needs_root
@pytest.mark.parametrize("arguments", [("config", "--check"), ("check",)])
def test_what_root_may_read_and_the_server_may_not(root: Path, arguments: tuple[str, ...]) -> None:
    """To root all is well, and then the reload fails."""
    Layout.open(root)
    os.chown(root, OWNER, OWNER)
    password = root.parent / "password"
    password.write_text("secret", encoding="utf-8")
    password.chmod(0o600)
    variables = {"REGISTRY_PROXY_USERNAME": "me", "REGISTRY_PROXY_PASSWORD_FILE": str(password)}

    done = typed(root, *arguments, **variables)

    assert done.returncode == 2
    assert f"cannot read {password}: user {OWNER} may not; let it: chgrp {OWNER} {password}" in done.stderr


def test_the_store_stays_the_same_though_its_owner_has_another_by_default(root: Path) -> None:
    Layout.open(root)
    config = load_config({"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(root)})
    assert as_server_reads_it(config, {"REGISTRY_CACHE_CONFIG": ""}).root == root


@pytest.mark.needs_root
def test_check_says_that_the_server_may_not_read_nginx_log(root: Path) -> None:
    Layout.open(root)
    os.chown(root, OWNER, OWNER)
    log = root.parent / "nginx.log"
    variables = {"REGISTRY_STATISTICS_NGINX_LOG": str(log), "REGISTRY_PROXY_REMOTEURL": "http://127.0.0.1:9"}
    assert "nginx" not in typed(root, "check", **variables).stdout
    log.touch(mode=0o600)

    told = f"statistics.nginx_log: cannot read {log}: user {OWNER} may not, so its hits are not counted; let it: "
    done = typed(root, "check", **variables)
    assert told in done.stdout + done.stderr
