"""What ``registry-cache import`` says, and its exit statuses."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any, Protocol

import pytest

from registry_cache.cli import main
from tests.harness.cleanup_rig import snapshot
from tests.harness.content import Content
from tests.harness.images import make_image
from tests.harness.import_rig import OldRegistry, layout_files, packed, tar_of, write_folder
from tests.harness.programs import without_heading


class Run(Protocol):
    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Exit status, output, errors."""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def run(root: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        status = main(["import", *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, without_heading(out), err

    return run


def layout(**annotations: str) -> dict[str, bytes]:
    content = Content()
    named = {key.replace("_", "."): value for key, value in annotations.items()}
    return layout_files([(content, make_image(content, layers=1, layer_size=100), named)])


def test_words(run: Run, tmp_path: Path, root: Path) -> None:
    old = OldRegistry(tmp_path / "old")
    old.image()
    status, out, err = run("--dry-run", old.folder)
    assert (status, err) == (0, "")
    assert out.startswith("would import 1 tag of 1 repository; 4 blobs (")
    assert not root.exists()
    status, out, err = run(old.folder)
    assert (status, err) == (0, "")
    assert out.startswith("imported 1 tag of 1 repository; 4 blobs (")
    assert "linked, 0 blobs (0 B) copied; 0 blobs (0 B) were here already; " in out
    assert run(old.folder)[1].endswith("were here already\n")


def test_the_document(run: Run, tmp_path: Path) -> None:
    old = OldRegistry(tmp_path / "old")
    image = old.image()
    old.data(image.config).write_bytes(b"flipped")
    old.data(image.layers[0]).unlink()

    status, out, err = run("--json", "--copy", old.folder)

    assert (status, err) == (1, "")
    told: dict[str, Any] = json.loads(out)
    assert (told["version"], told["ok"], told["complete"], told["dry_run"]) == (1, False, True, False)
    assert told["source"] == {"kind": "distribution", "place": str(old.folder)}
    assert (told["copied"]["blobs"], told["linked"], told["already_here"]["bytes"]) == (2, {"blobs": 0, "bytes": 0}, 0)
    assert (told["absent"], told["left_out"], told["problems"][0]["what"]) == (1, 1, image.config)


def test_damage_is_told_where_cron_looks(run: Run, tmp_path: Path) -> None:
    old = OldRegistry(tmp_path / "old")
    image = old.image()
    old.data(image.config).write_bytes(b"flipped")
    status, out, err = run(old.folder)
    assert (status, out) == (1, "")
    assert err.startswith(f"left out {image.config}: its bytes are those of sha256:")


def test_a_command_line_that_cannot_be(run: Run, tmp_path: Path, root: Path) -> None:
    old = OldRegistry(tmp_path / "old")
    bare = write_folder(tmp_path / "bare", layout(org_opencontainers_image_ref_name="1"))
    foreign = write_folder(tmp_path / "foreign", layout(io_containerd_image_name="quay.io/team/app:1"))
    for words, arguments in {
        "name it with --as, such as --as library/nginx": (bare,),
        "'quay.io' is not a registry that this cache mirrors": (foreign,),
        "does not exist": (tmp_path / "none",),
        "neither a storage folder of registry:2": (tmp_path,),
        "quay.io": (old.folder, "--upstream", "quay.io"),
        "have names": (old.folder, "--as", "library/app"),
        "is not a repository name": (bare, "--as", "library/App"),
        "is no tag": (bare, "--as", "app:not+a+tag"),
        "has a digest": (bare, "--as", "app@sha256:0"),
    }.items():
        status, out, err = run(*arguments)
        assert (status, out) == (2, "")
        assert words in err
        assert err.startswith("registry-cache: ")
    assert not [*root.glob("blobs/*/*/*")]
    assert run(bare, "--as", "team/app:7")[0] == run(foreign, "--as", "team/app")[0] == 0
    assert {path.name for path in root.glob("repositories/docker.io/team/app/_tags/*")} == {"1.json", "7.json"}


def test_a_store_that_cannot_be_used(run: Run, tmp_path: Path, root: Path) -> None:
    old = OldRegistry(tmp_path / "old")
    root.mkdir()
    (root / "layout").write_bytes(b"2\n")
    for more in ((), ("--dry-run",)):
        status, out, err = run(old.folder, *more)
        assert (status, out) == (1, "")
        assert "use the version that wrote it" in err


def test_standard_input(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(packed(tar_of(layout(io_containerd_image_name="docker.io/team/app:1"))))
    with archive.open("rb") as file:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(file))
        assert run("-")[0] == 0
    before = snapshot(root)
    status, out, _ = run("--dry-run", archive)
    assert status == 0
    assert "0 blobs (0 B) to come; 3 blobs (" in out
    assert snapshot(root) == before


def test_stopped_by_hand(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    OldRegistry(tmp_path / "old").image()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("registry_cache.store.records.Records.put_manifest", stop)
        status, _, err = run(tmp_path / "old")
    assert status == 3
    assert err.endswith("stopped: run it again, and it goes on\n")
    assert run(tmp_path / "old")[0] == 0


def test_a_bar_for_terminals(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    OldRegistry(tmp_path / "old").image()
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.fileno", lambda: 2)
    monkeypatch.setattr("os.get_terminal_size", lambda descriptor: os.terminal_size((200, 24)))
    status, _, err = run(tmp_path / "old")
    assert status == 0
    assert "] " in err
    assert err.endswith("\r\x1b[K")


@pytest.mark.parametrize("sign", ["\x1b[2J", "\x9b2J", "\r", "\n", "\x07", "\u202e"])
def test_no_name_in_an_archive_moves_a_terminal_s_cursor(run: Run, tmp_path: Path, sign: str) -> None:
    """Neither where the whole is refused, nor where a part is left out."""
    name = f"ghcr.io/a{sign}b/c:1"
    (tmp_path / "refused.tar").write_bytes(tar_of(layout(io_containerd_image_name=name)))
    status, out, err = run(tmp_path / "refused.tar")
    assert status != 0
    assert "a?" in err or "\\" in err
    (tmp_path / "odd.tar").write_bytes(tar_of({f"./{sign}index.json": b"{}", "index.json": b"[]" + bytes(20)}))
    _, more, last = run(tmp_path / "odd.tar")
    assert all(letter.isprintable() for text in (out, err, more, last) for letter in text.replace("\n", ""))
    assert err.count("\n") == 1
