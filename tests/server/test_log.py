"""What the server's processes write to standard error, ours and gunicorn's alike."""

from __future__ import annotations

import json
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.harness.fixture_types import MakePuller
from tests.harness.server import STOP_SECONDS
from tests.harness.serving import GUNICORN, SERVE, Start
from tests.harness.waiting import eventually

# An application that prints and fails while it is loaded, as nobody means to.
BROKEN = (
    "import sys, warnings\nprint('said', file=sys.stderr)\nwarnings.warn('odd', stacklevel=1)\nraise ValueError('no')\n"
)
COMMANDS = pytest.mark.parametrize("command", [SERVE, GUNICORN], ids=["registry-cache serve", "gunicorn"])


def settings(folder: Path, formatter: str, **more: object) -> dict[str, Any]:
    """A server's configuration; its store is in `folder`."""
    store = {"filesystem": {"rootdirectory": str(folder / "store")}}
    base = {"http": {"addr": "127.0.0.1:0"}, "storage": store, "log": {"formatter": formatter}}
    return base | more


def objects(text: str) -> list[dict[str, Any]]:
    """The log's lines; each must be an object of ours."""
    found = [json.loads(line) for line in text.splitlines()]
    assert all({"time", "level", "event"} <= each.keys() for each in found)
    return found


@COMMANDS
def test_every_line_is_an_object(start: Start, make_puller: MakePuller, tmp_path: Path, command: list[str]) -> None:
    server = start(command, settings(tmp_path, "json"))
    eventually(lambda: "listening on" in server.printed())
    [url] = re.findall(r"listening on (http://[0-9.:]+)", server.printed())
    assert make_puller(url).get("/v2/").status == 200
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: "reloaded" in server.printed())
    assert server.press_control_c() == 0

    told = objects(server.printed())

    events = {each["event"] for each in told}
    assert {"request", "reloaded", "Handling signal: hup", "Handling signal: int"} <= events
    [request] = [each for each in told if each["event"] == "request"]
    assert round(request["seconds"], 3) == request["seconds"]
    assert {each["level"] for each in told} <= {"info", "warning"}


@COMMANDS
@pytest.mark.parametrize("problem", ["configuration", "store", "disk", "address"])
def test_why_it_does_not_start_is_told_in_objects(
    start: Start, tmp_path: Path, command: list[str], problem: str
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "layout").write_text("2\n", encoding="ascii")
    (tmp_path / "odd" / "layout").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        more: dict[str, dict[str, Any]] = {
            "configuration": {"sotrage": {}},
            "store": {"storage": {"filesystem": {"rootdirectory": str(tmp_path / "other")}}},
            "disk": {"storage": {"filesystem": {"rootdirectory": str(tmp_path / "odd")}}},
            "address": {"http": {"addr": f"127.0.0.1:{taken.getsockname()[1]}"}},
        }
        server = start(command, settings(tmp_path, "json", **more[problem]))
        assert server.process.wait(STOP_SECONDS) == (2 if problem == "configuration" else 1)

    said = {
        "configuration": "sotrage",
        "store": "of layout",
        "disk": "could not set up the store",
        "address": "http.addr: cannot listen on",
    }[problem]
    assert any(said in each["event"] for each in objects(server.printed()) if each["level"] == "error")


def test_what_others_print_is_an_object_as_well(start: Start, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN, encoding="utf-8")
    wsgi = [GUNICORN[0], "-m", "gunicorn", "-c", str(Path.cwd() / "gunicorn.conf.py"), "--chdir", str(tmp_path)]
    server = start([*wsgi, "broken:app"], settings(tmp_path, "json"))
    assert server.process.wait(STOP_SECONDS) != 0

    events = [each["event"] for each in objects(server.printed())]

    assert "said" in events
    assert any("UserWarning: odd" in event for event in events)
    assert any("Exception in worker process" in event for event in events)


def test_the_journal_gets_priorities_and_no_second_time(start: Start, tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    status = (tmp_path / "log").stat()
    server = start(SERVE, settings(tmp_path, "text"), {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    server.url()
    assert server.press_control_c() == 0

    lines = server.printed().splitlines()

    assert all(re.match(r"<[346]>(info|warning|error) ", line) for line in lines), lines
    assert "<6>info Handling signal: int" in lines


def test_somebody_elses_journal_is_not_ours(start: Start, tmp_path: Path) -> None:
    server = start(SERVE, settings(tmp_path, "text"), {"JOURNAL_STREAM": "1:2"})
    server.url()
    assert server.press_control_c() == 0

    assert all(re.match(r"20\d\d-\d\d-\d\dT[0-9:]{8}\.\d{3}Z ", line) for line in server.printed().splitlines())
