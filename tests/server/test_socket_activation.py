"""Under systemd: the socket is its, and it is told when the server is ready."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.harness.components import require
from tests.harness.server import STOP_SECONDS, clean_environment
from tests.harness.serving import SERVE

# From the first connection to an answer: the start of Python and gunicorn, on a busy machine.
START_SECONDS = 30.0


def ask(path: Path) -> bytes:
    """GET /v2/ by a Unix socket; the whole answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(START_SECONDS)
        connection.connect(str(path))
        connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: cache\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture
def notified(tmp_path: Path) -> Iterator[socket.socket]:
    """Where a service says how it is (sd_notify)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(START_SECONDS)
        yield receiver


def test_a_connection_starts_it_and_it_says_when_it_is_ready(tmp_path: Path, notified: socket.socket) -> None:
    # Another address in the configuration has no effect: the socket is the one that was handed over.
    settings = {"version": 0.1, "http": {"addr": "127.0.0.1:0"}}
    settings["storage"] = {"filesystem": {"rootdirectory": str(tmp_path / "store")}}
    (tmp_path / "config.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    path = tmp_path / "socket"
    given = {"REGISTRY_CACHE_CONFIG": str(tmp_path / "config.yml"), "NOTIFY_SOCKET": str(tmp_path / "notify")}
    # It hands on what it is told to.
    passed = [f"--setenv={name}={value}" for name, value in clean_environment(**given).items()]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [require("systemd-socket-activate"), f"--listen={path}", *passed, *SERVE],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    assert process.stderr is not None
    try:
        said = iter(process.stderr.readline, b"")
        assert any(b"Listening on" in line for line in said)

        assert ask(path).startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"READY=1" in notified.recv(4096).splitlines()
        assert any(line.rstrip().endswith(f"listening on unix:{path}".encode()) for line in said)
        assert any(b"warning http.addr (127.0.0.1:0) has no effect: systemd listens" in line for line in said)

        process.terminate()
        assert process.wait(STOP_SECONDS) == 0
        # It is systemd's to remove.
        assert path.is_socket()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(STOP_SECONDS)
        process.stderr.close()
