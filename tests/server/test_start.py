"""The commands that start the server: what they print, how soon they answer, and how they end."""

import contextlib
import json
import os
import socket
import time
from pathlib import Path

import pytest

from tests.harness.fixture_types import MakePuller
from tests.harness.server import STOP_SECONDS
from tests.harness.serving import GUNICORN, SERVE, Start
from tests.harness.waiting import eventually

# Of the processor: what the machine does for others meanwhile does not count, and what is waited for does below.
START_SECONDS = 3.0
WAITED_SECONDS = 20.0


def processor_seconds(group: int) -> float:
    """What all processes of a group have used until now."""
    used = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            fields = stat.read_text().rpartition(")")[2].split()
            used += (int(fields[11]) + int(fields[12])) * (int(fields[2]) == group)
    return used / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("command", [SERVE, GUNICORN], ids=["registry-cache serve", "gunicorn"])
def test_it_says_what_it_does_answers_soon_and_ends_on_control_c(
    start: Start, make_puller: MakePuller, tmp_path: Path, command: list[str]
) -> None:
    server = start(command)
    url = server.url()
    assert make_puller(url).get("/v2/").status == 200
    assert time.monotonic() - server.began < WAITED_SECONDS
    assert processor_seconds(server.process.pid) < START_SECONDS

    printed = server.printed()
    assert "mirroring docker.io (https://registry-1.docker.io)" in printed
    assert f"storing under {tmp_path / 'store'}" in printed
    assert "keeping " in printed
    assert json.dumps({"registry-mirrors": [url]}) in printed

    assert server.press_control_c() == 0, server.printed()
    assert "Traceback" not in server.printed()


@pytest.mark.parametrize("command", [SERVE, GUNICORN], ids=["registry-cache serve", "gunicorn"])
def test_an_address_that_is_taken_is_told_at_once(start: Start, tmp_path: Path, command: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        settings = {"http": {"addr": taken}, "storage": {"filesystem": {"rootdirectory": str(tmp_path / "store")}}}
        server = start(command, settings)
        assert server.process.wait(STOP_SECONDS) == 1
    # Behind gunicorn's own first line.
    line = server.printed().splitlines()[-1]
    assert line.startswith(f"http.addr: cannot listen on {taken}: something listens there already")
    assert line.endswith("stop what is in the way, or name another")


@pytest.mark.parametrize(
    ("addr", "reason"),
    [
        ("192.0.2.1:5000", "this machine does not have that address"),
        ("/nowhere/at/all/http.sock", "there is no folder /nowhere/at/all"),
        ("/dev/null", "a file is there that is not a socket"),
    ],
)
def test_an_address_that_cannot_be_is_told_at_once(start: Start, tmp_path: Path, addr: str, reason: str) -> None:
    net = "unix" if addr.startswith("/") else "tcp"
    settings = {"http": {"addr": addr, "net": net}, "storage": {"filesystem": {"rootdirectory": str(tmp_path / "s")}}}
    server = start(SERVE, settings)
    assert server.process.wait(STOP_SECONDS) == 1
    assert f"{addr}: {reason}; " in server.printed()
    assert "Traceback" not in server.printed()


def test_nothing_is_imported_from_the_folder_it_is_started_in(
    start: Start, make_puller: MakePuller, tmp_path: Path
) -> None:
    for name in ("yaml", "requests", "prometheus_client", "gevent", "registry_cache"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name}.py of the folder was imported')")
    server = start(SERVE)
    assert make_puller(server.url()).get("/v2/").status == 200
    assert server.press_control_c() == 0, server.printed()
    assert "was imported" not in server.printed()


@pytest.mark.parametrize("command", [SERVE, GUNICORN], ids=["registry-cache serve", "gunicorn"])
def test_a_configuration_that_cannot_be_is_reported_whole(start: Start, command: list[str]) -> None:
    server = start(command, {"version": 0.1, "proxy": {"remoteurl": "nonsense", "ttl": "fast"}, "sotrage": {}})
    assert server.process.wait(STOP_SECONDS) == 2, server.printed()
    for path in ("proxy.remoteurl", "proxy.ttl", "sotrage"):
        assert path in server.printed()
    assert "Traceback" not in server.printed()


def test_ps_tells_the_master_from_its_workers(start: Start, make_puller: MakePuller) -> None:
    server = start(SERVE)
    puller = make_puller(server.url())
    assert puller.get("/v2/").status == 200

    def titles() -> list[str]:
        group = server.process.pid
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, IndexError):
                if int((process / "stat").read_text().rpartition(")")[2].split()[2]) == group:
                    found.append((process / "cmdline").read_bytes().partition(b"\0")[0].decode())
        return sorted(found)

    wanted = ["gunicorn: master [registry-cache]", *["gunicorn: worker [registry-cache]"] * 2]
    eventually(lambda: titles() == wanted)
