"""What an operator copies from deploy/: right for the programs that read it, and for our command line."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from registry_cache import cli
from registry_cache.commands import cleanup

DEPLOY = Path(__file__).parents[2] / "deploy"
CRON_FILE = DEPLOY / "cron" / "registry-cache"
CRON = CRON_FILE.read_text(encoding="utf-8")
UNITS = sorted((DEPLOY / "systemd").iterdir())

# crontab(5), the format of /etc/cron.d: five fields, a user, a command.
_FIELD = r"(?:\*|[0-9]+(?:-[0-9]+)?)(?:/[0-9]+)?(?:,(?:\*|[0-9]+(?:-[0-9]+)?)(?:/[0-9]+)?)*"
CRON_LINE = re.compile(rf"((?:{_FIELD} ){{5}})([a-z_][a-z0-9_-]*) (\S.*)", re.ASCII)
CRON_VARIABLE = re.compile(r"[A-Z_]+=\S*", re.ASCII)
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def arguments(command: str) -> list[str]:
    """Our own arguments in a shell's command line."""
    words = shlex.split(command.partition(">")[0])
    assert Path(words[0]).name == "registry-cache"
    return words[1:]


def cron_lines() -> list[re.Match[str]]:
    """The lines that run something; every other one must be a variable, a comment or empty."""
    found = []
    for line in CRON.splitlines():
        match = CRON_LINE.fullmatch(line)
        if match:
            found.append(match)
        else:
            assert not line or line.startswith("#") or CRON_VARIABLE.fullmatch(line), line
    return found


def test_the_cron_file() -> None:
    [line] = cron_lines()

    # cron.d passes over names with a dot, and over a last line without its end.
    assert "." not in CRON_FILE.name
    assert CRON.endswith("\n")
    assert "%" not in line[3]  # cron would make a line's end of it
    for field, (least, most) in zip(line[1].split(), RANGES, strict=True):
        assert all(least <= int(number) <= most for number in re.findall(r"[0-9]+", field))
    assert line[2] != "root"


@pytest.mark.parametrize("line", ["60 * * * registry-cache x", "* * * * * x", "17 * * * * Registry x", "@hourly a b"])
def test_what_is_no_cron_line(line: str) -> None:
    assert not CRON_LINE.fullmatch(line)


def test_the_commands_are_ours() -> None:
    service = (DEPLOY / "systemd" / "registry-cache-cleanup.service").read_text(encoding="utf-8")
    commands = [line[3] for line in cron_lines()] + re.findall(r"^ExecStart=(.+)$", service, re.MULTILINE)

    assert len(commands) == 2
    for command in commands:
        assert cli.make_parser().parse_args(arguments(command)).run is cleanup.run


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for unit in UNITS:
        # It wants the program to be there and executable.
        text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(encoding="utf-8"), flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(text, encoding="utf-8")

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / unit.name) for unit in UNITS)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_timer_starts_the_service() -> None:
    assert {unit.stem for unit in UNITS} == {"registry-cache-cleanup"}
    assert {unit.suffix for unit in UNITS} == {".service", ".timer"}
