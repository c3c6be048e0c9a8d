"""What the shells complete and the pages tell, by the shells themselves; and what a mistyped word is taken for."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from registry_cache import cli
from registry_cache.cli import COMMANDS, make_parser
from tests.harness.checkout import REPOSITORY
from tests.harness.components import require


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["completion", shell]) == 0
    return capsys.readouterr().out


def completed(script: Path, *words: str) -> list[str]:
    """What bash offers for the last word."""
    line = " ".join(f"'{word}'" for word in ("registry-cache", *words))
    asked = f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _registry_cache"
    program = [require("bash"), "-c", f'{asked}; printf "%s\\n" "${{COMPREPLY[@]}}"']
    return subprocess.run(program, check=True, capture_output=True, text=True, cwd=script.parent).stdout.split()


@pytest.fixture
def bash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    (tmp_path / "script").write_text(script("bash", capsys))
    return tmp_path / "script"


def test_bash_completes_commands_and_their_options(bash: Path) -> None:
    assert completed(bash, "cl") == ["cleanup"]
    assert completed(bash, "pin") == ["pin", "pins"]
    assert "--dry-run" in completed(bash, "cleanup", "--")
    assert "--repair" not in completed(bash, "cleanup", "--")
    assert completed(bash, "verify", "--rep") == ["--repair"]
    assert completed(bash, "--config", "/etc/x", "list", "--so") == ["--sort"]


def test_bash_completes_what_an_option_takes(bash: Path) -> None:
    (bash.parent / "images.txt").touch()
    assert "used" in completed(bash, "list", "--sort", "u")
    assert completed(bash, "warm", "--file", "im") == ["images.txt"]
    assert completed(bash, "import", "im") == ["images.txt"]
    assert completed(bash, "completion", "f") == ["fish"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_and_option_is_in_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = script(shell, capsys)
    for name, each in make_parser().commands.items():
        assert re.search(rf"\b{name}\b", text)
        for option in (word for argument in each.arguments for word in argument.names):
            assert option in text or f"-l {option.lstrip('-')}" in text


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_shell_takes_its_script(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "script").write_text(script(shell, capsys))
    subprocess.run([require(shell), "-n", str(tmp_path / "script")], check=True, timeout=60)


def test_fish_completes_commands_and_their_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "script").write_text(script("fish", capsys))

    def completed(line: str) -> list[str]:
        program = [require("fish"), "-c", f"source {tmp_path / 'script'}; complete -C '{line}'"]
        environment = {**os.environ, "HOME": str(tmp_path)}
        done = subprocess.run(program, check=True, capture_output=True, text=True, env=environment)
        return [each.partition("\t")[0] for each in done.stdout.splitlines()]

    assert "cleanup" in completed("registry-cache cl")
    assert "--dry-run" in completed("registry-cache cleanup --dr")
    assert completed("registry-cache list --sort us") == ["used"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["stauts"], "'stauts' is not a command; did you mean stats or status?"),
        (["--config", "/x", "clean"], "'clean' is not a command; did you mean cleanup?"),
        (["frobnicate"], "'frobnicate' is not a command; registry-cache --help lists them"),
        (["cleanup", "--dryrun"], "unknown: --dryrun; did you mean --dry-run?"),
        (["verify", "--reparir=1"], "unknown: --reparir=1; did you mean --repair?"),
        (["status", "--frobnicate"], "unknown: --frobnicate\n"),
    ],
)
def test_a_mistyped_word(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_help_tells_every_default() -> None:
    """Of what takes a value and is not required, or what happens without it."""
    silent = []
    for command in COMMANDS:
        parser = argparse.ArgumentParser()
        command.load(parser)
        for action in vars(parser)["_actions"]:
            if action.default not in (None, False, "", argparse.SUPPRESS) and "default" not in (action.help or ""):
                silent.append((command.name, action.dest))
    assert silent == []


def test_config_leaves_out_what_nobody_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yml").write_text(f"proxy: {{ttl: 24h}}\nstorage: {{filesystem: {{rootdirectory: {tmp_path}}}}}")
    monkeypatch.setenv("REGISTRY_LOG_LEVEL", "debug")
    assert cli.main(["config", "--changed", "--config", str(tmp_path / "config.yml")]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    assert [line.split()[0] for line in lines] == ["log.level:", "storage.filesystem.rootdirectory:", "proxy.ttl:"]


def test_the_pages_of_the_manual(tmp_path: Path) -> None:
    """By the program that shows them, which warns of what it cannot read."""
    subprocess.run([sys.executable, str(REPOSITORY / "tools" / "man.py"), str(tmp_path)], check=True, timeout=60)
    pages = {page.name.removesuffix(".1") for page in tmp_path.iterdir()}
    assert pages == {"registry-cache", *(f"registry-cache-{command.name}" for command in COMMANDS)}
    for page in tmp_path.iterdir():
        shown = subprocess.run(
            [require("man"), "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(page)],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "MANWIDTH": "100"},
        )
        assert shown.stderr == ""
    text = (tmp_path / "registry-cache-cleanup.1").read_text()
    assert r"\-\-dry\-run" in text
