"""Standard streams that whoever starts a program has closed, as some daemons do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.harness.programs import PROGRAM, run

CLOSED = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]

# Prints by itself and by another program, with a file open that must not be what they print into.
PRINT = """
import os, subprocess, sys
from registry_cache.commands.standard_streams import open_closed_streams
open_closed_streams()
with open(sys.argv[1], "w") as file:
    print("printed", flush=True)
    print("told", file=sys.stderr, flush=True)
    assert sys.stdin.read() == ""
    subprocess.run(["sh", "-c", "echo printed; echo told >&2"], check=True)
    file.write(f"{min(file.fileno(), 3)}")
"""


def test_what_is_printed_goes_into_no_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert run([*CLOSED, sys.executable, "-c", PRINT, str(file)]).returncode == 0
    assert file.read_text() == "3"


def test_streams_that_are_open_stay_as_they_are(tmp_path: Path) -> None:
    done = run([sys.executable, "-c", PRINT, str(tmp_path / "file")], input="")
    assert (done.stdout, done.stderr) == ("printed\nprinted\n", "told\ntold\n")


@pytest.mark.parametrize(("arguments", "status"), [(["setup", "docker"], 0), (["--help"], 0), (["setup"], 2)])
def test_a_command_does_its_work_without_any(arguments: list[str], status: int, tmp_path: Path) -> None:
    environment = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(tmp_path / "store")}
    assert run([*CLOSED, PROGRAM, *arguments], environment).returncode == status
