"""A real Redis on a port of its own, that can go away, come back empty, and stand still."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.harness.components import require
from tests.harness.ports import free_ports

START_SECONDS = 20.0


class RedisServer:
    """Redis without persistence, in `folder`. `stop` it."""

    def __init__(self, folder: Path, password: str | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._program = require("redis-server")
        self._password = password
        [self.port] = free_ports(1)
        self.address = f"127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.is_spoiled = False
        self.start()

    def start(self) -> None:
        """Start, empty, and return when it answers."""
        command = [self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--dir", str(self._folder), "--requirepass", self._password] if self._password else []
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "redis.log").read_text()
            time.sleep(0.02)  # it does not notify

    def stop(self) -> None:
        """SIGKILL it: what it knew is gone, and its port refuses."""
        self.is_spoiled = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let it accept, and answer nothing."""
        self.is_spoiled = True
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def ask(self, *words: str) -> bytes:
        """What Redis answers to one command, as it is on the wire."""
        lines = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            if self._password:
                connection.sendall(f"AUTH {self._password}\r\n".encode())
                connection.recv(100)
            connection.sendall(f"*{len(words)}\r\n{lines}".encode())
            return connection.recv(65536)

    def _answers(self) -> bool:
        try:
            return self.ask("PING").startswith(b"+PONG")
        except OSError:
            return False

    def wait_for_clients(self, count: int, *commands: bytes) -> None:
        """Return when so many clients have sent a command that contains this, or one for each of these, from now on."""
        seen: dict[bytes, set[bytes]] = {command: set() for command in commands}
        with socket.create_connection(("127.0.0.1", self.port), timeout=START_SECONDS) as connection:
            connection.sendall(b"*1\r\n$7\r\nMONITOR\r\n")
            with connection.makefile("rb") as lines:
                while any(len(clients) < count for clients in seen.values()):
                    line = lines.readline()
                    assert line, "Redis has closed the connection"
                    for command in commands:
                        if command in line:
                            # +1764322999.123456 [0 127.0.0.1:53190] "GET" "rc:1:note:…"
                            seen[command].add(line.split()[2])
