"""The console script: what it prints, its exit status, and the server it becomes."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from pathlib import Path

import pytest

from registry_cache import __version__, cli
from registry_cache.commands import serve
from registry_cache.runtime.log import Log
from registry_cache.runtime.users import name_of_user
from registry_cache.store.disk import store_errors
from tests.harness.checkout import REPOSITORY
from tests.harness.programs import PROGRAM, UNREAD, run


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("REGISTRY_") or name in UNREAD]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", str(tmp_path / "store"))


@pytest.fixture
def good(tmp_path: Path) -> str:
    file = tmp_path / "good.yml"
    file.write_text("proxy: {username: u, password: hunter2}\nnotifications: {endpoints: [a]}")
    return str(file)


@pytest.fixture
def bad(tmp_path: Path) -> str:
    file = tmp_path / "bad.yml"
    file.write_text("proxy: {username: u, password: [hunter2], ttl: 7}")
    return str(file)


@pytest.mark.parametrize("before", [True, False])
def test_config_prints_what_is_in_force(
    good: str, before: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = cli.main(["--config", good, "config"] if before else ["config", "--config", good])

    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert status == 0
    assert lines.pop(0) == f"# configuration: {good} and the environment; store: {tmp_path / 'store'}"
    assert lines[0].split() == ["version:", "0.1", "#", "default"]
    assert ["proxy.password:", "********", "#", good] in [line.split() for line in lines]
    assert lines[-1] == "# understood but without effect here: notifications"
    assert len({line.index("  # ") for line in lines if "  # " in line and len(line.split("  # ")[0]) <= 60}) == 1
    assert "hunter2" not in printed


def test_config_makes_no_folder(good: str, tmp_path: Path) -> None:
    cli.main(["config", "--config", good])

    assert not (tmp_path / "store").exists()


def test_config_can_only_say_whether_a_reload_would_take_it(
    good: str, bad: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["config", "--check", "--config", good]) == 0
    assert capsys.readouterr() == ("", "")
    assert not (tmp_path / "store").exists()

    assert cli.main(["config", "--check", "--config", bad]) == 2
    assert "2 problems in the configuration" in capsys.readouterr().err

    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "layout").write_text("2\n", encoding="ascii")
    assert cli.main(["config", "--check", "--config", good]) == 1
    assert "layout" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["config", "serve"])
def test_a_bad_configuration(command: str, bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main([command, "--config", bad])

    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert err.splitlines()[0] == f"{bad}: 2 problems in the configuration"
    assert "hunter2" not in err


@pytest.mark.parametrize("command", ["config", "serve"])
def test_a_file_that_is_missing_is_named_by_its_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--config", "/no/such/file"]) == 2
    assert capsys.readouterr().err.splitlines()[1].startswith("  --config: cannot read /no/such/file: ")


@pytest.mark.parametrize("words", [["--config", "", "status"], ["status", "--config="], ["cleanup", "--config", " "]])
def test_an_option_that_names_no_file_is_no_wish_for_the_defaults(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As of a shell whose variable is not set."""
    with pytest.raises(SystemExit):
        cli.main(words)
    assert capsys.readouterr().err.endswith("argument --config: no file is named\n")


def test_serve_becomes_gunicorn(good: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))

    cli.main(["serve", "--config", good, "--", "--bind", "fd://3"])

    [(program, command, environ)] = calls
    assert program == command[0] == sys.executable
    assert command[1:] == [
        "-P", "-m", "registry_cache.server.launcher", "-c", serve.SETTINGS, "--bind", "fd://3",
        "registry_cache.app:from_environment()",
    ]  # fmt: skip
    assert environ["REGISTRY_CACHE_CONFIG"] == good


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--verion"], "registry-cache: unknown: --verion; did you mean --version?\n"),
        (["--conifg=x", "status"], "registry-cache: unknown: --conifg=x; did you mean --config?\n"),
        (["-v"], "registry-cache: unknown: -v\n"),
        ([], "registry-cache: the following arguments are required: COMMAND\n"),
    ],
)
def test_an_unknown_option_before_the_command(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(words)
    assert capsys.readouterr().err.endswith(told)


@pytest.mark.parametrize("arguments", [[], ["serv"], ["config", "--nonsense"]])
def test_a_command_line_that_cannot_be(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)

    assert caught.value.code == 2
    assert "usage: registry-cache" in capsys.readouterr().err


def test_control_c_is_no_traceback(
    good: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("registry_cache.store.layout.Layout.find", interrupted)
    assert cli.main(["cleanup", "--config", good]) == 130
    assert capsys.readouterr().err == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])

    assert capsys.readouterr().out == f"registry-cache {__version__}\n"


@pytest.mark.parametrize("settings", [serve.SETTINGS, str(REPOSITORY / "gunicorn.conf.py")])
def test_gunicorn_itself_stops_at_a_bad_configuration(settings: str, bad: str) -> None:
    command = [sys.executable, "-m", "gunicorn", "-c", settings, "wsgi:app"]
    ended = run(command, os.environ | {"REGISTRY_CACHE_CONFIG": bad})

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[0] == f"{bad}: 2 problems in the configuration"
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("formatter", ["json", "text"])
def test_what_gunicorn_does_not_know_is_told_as_the_log_tells_all(formatter: str) -> None:
    ended = run([PROGRAM, "serve", "--", "--nonsense"], os.environ | {"REGISTRY_LOG_FORMATTER": formatter})
    assert (ended.returncode, ended.stdout) == (2, "")
    if formatter == "json":
        assert json.loads(ended.stderr)["event"] == "registry-cache serve -- unrecognized arguments: --nonsense"
    else:
        assert ended.stderr.endswith("error: unrecognized arguments: --nonsense\n")


def test_a_full_standard_output_is_one_line(tmp_path: Path) -> None:
    environment = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(tmp_path / "store"), "PATH": os.defpath}
    for command in ("cleanup", "status", "pins"):
        with open("/dev/full", "wb") as full:
            done = run([PROGRAM, command], environment, stdout=full)
        told = "registry-cache: could not write to standard output: No space left on device\n"
        assert (done.returncode, done.stderr) == (1, told)


def test_pins_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    environment = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(tmp_path / "store"), "PATH": os.defpath}
    assert run([PROGRAM, "pin", "library/other:1"], environment).returncode == 0
    limited = ["/bin/sh", "-c", 'ulimit -f 0; exec "$@"', "sh", PROGRAM, "pin", "library/app:1"]
    done = run(limited, environment)
    assert (done.returncode, done.stderr) == (1, "registry-cache: could not write the pins: File too large\n")


def test_a_url_is_no_image_to_pin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", str(tmp_path / "store"))
    assert cli.main(["pin", "docker://docker.io/library/app:1"]) == 2
    assert capsys.readouterr().err.endswith(" is a URL: write the image alone, as docker.io/library/app:1\n")


def test_a_file_that_fails_is_named_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*given: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "there"))

    monkeypatch.setattr("registry_cache.commands.setup.start", fail)
    assert cli.main(["setup", "docker"]) == 1
    assert capsys.readouterr().err == f"registry-cache: {tmp_path / 'there'}: Permission denied\n"


def test_a_part_of_the_store_that_is_another_users_has_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*given: object) -> int:
        with store_errors("count what is cached"):
            raise PermissionError(errno.EACCES, "Permission denied", "/store/blobs/sha256")

    monkeypatch.setattr("registry_cache.commands.setup.start", fail)
    assert cli.main(["setup", "docker"]) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == (
        f"registry-cache: could not count what is cached: Permission denied; user {name_of_user()} may not use "
        "/store/blobs/sha256: run this as the user whose store it is, or give all of the store to one with chown -R"
    )


def test_what_a_command_logs_keeps_its_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*given: object) -> int:
        Log("registry_cache.store").error("the disk refuses", what="look", file="/a b")
        return 0

    monkeypatch.setattr("registry_cache.commands.setup.start", refuse)
    # pytest's handlers would be in the place of Python's last resort.
    monkeypatch.setattr(logging.getLogger("registry_cache"), "propagate", False)
    monkeypatch.setattr(logging.getLogger("registry_cache"), "handlers", [])
    with pytest.raises(AttributeError):
        cli.main(["setup", "docker"])
    assert capsys.readouterr().err == 'registry-cache: error the disk refuses what=look file="/a b"\n'


@pytest.mark.parametrize("arguments", [["--help"], ["config", "--help"], ["--version"], ["config"]])
def test_a_reader_who_leaves_is_no_traceback(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run([PROGRAM, *arguments], stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
