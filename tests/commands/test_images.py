"""Images, lists and platforms on the command lines of ``warm`` and ``export``."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import pytest

from registry_cache import cli
from registry_cache.commands.images import add_image_arguments, listed_images, wanted_platforms


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("REGISTRY_CACHE_CONFIG", raising=False)
    monkeypatch.setenv("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", str(tmp_path / "store"))


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_image_arguments(parser, "")
    return parser.parse_args(arguments)


def test_a_list_comes_behind_what_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "# ours\nlibrary/b:1\n\n  library/a:1  # the other\n"
    (tmp_path / "list").write_text(text)
    assert listed_images(parsed("library/a:1", "--file", str(tmp_path / "list"))) == ["library/a:1", "library/b:1"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert listed_images(parsed("--file", "-")) == ["library/b:1", "library/a:1"]


def test_platforms() -> None:
    assert wanted_platforms(parsed("a")) is None
    assert wanted_platforms(parsed("a", "--platform", "all", "--platform", "linux/amd64")) == []
    found = wanted_platforms(parsed("a", "--platform", "linux/amd64", "--platform", "linux/arm/v7"))
    assert list(map(str, found or [])) == ["linux/amd64", "linux/arm/v7"]


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["warm"], "name an image"),
        (["warm", "--file", "/nowhere"], "could not read /nowhere"),
        (["warm", "--file", "BINARY"], "could not read"),
        (["export", "--to", "a.tar"], "name an image"),
        (["export", "--to", "a.tar", "--file", "/dev/null"], "lists no image"),
        (["export", "app", "--to", "-", "--json"], "name a file with --to"),
    ],
)
def test_what_cannot_be(arguments: list[str], remedy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "BINARY").write_bytes(b"\xff\xfe\x00")
    status = cli.main([str(tmp_path / each) if each == "BINARY" else each for each in arguments])
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert remedy in err
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("arguments", [["warm", "app", "--platform", "linux"], ["export", "app"]])
def test_what_the_parser_refuses(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: registry-cache" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--platform", "all", "--offline"]])
def test_an_export_makes_no_store(more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", "library/app:1", "--to", str(tmp_path / "a.tar"), *more]) == 1
    assert "registry-cache warm makes one" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
