"""The two commands that start a server, run as from a shell."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from tests.harness.checkout import REPOSITORY
from tests.harness.components import require
from tests.harness.programs import PROGRAM
from tests.harness.server import STOP_SECONDS, clean_environment
from tests.harness.waiting import eventually

SERVE = [PROGRAM, "serve"]
GUNICORN = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]


class Command:
    """A server started by a command, in its own process group as a shell would start it."""

    def __init__(
        self,
        command: list[str],
        folder: Path,
        home: Path,
        settings: Mapping[str, object],
        environment: Mapping[str, str],
    ) -> None:
        config = home / "config.yml"
        config.write_text(yaml.safe_dump(settings), encoding="utf-8")
        self._log = home / "log"
        self.began = time.monotonic()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                # If the tests are killed, the server ends, too.
                [require("setpriv"), "--pdeathsig", "TERM", *command],
                cwd=folder,
                env=clean_environment(HOME=str(home), REGISTRY_CACHE_CONFIG=str(config), **environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def printed(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def url(self) -> str:
        """The URL that it prints, once it has."""
        eventually(lambda: re.search(r"listening on \S+\s", self.printed()) or self.process.poll() is not None)
        found = re.search(r"listening on (\S+)\s", self.printed())
        assert found, self.printed()
        return found[1]

    def masters(self) -> list[int]:
        """gunicorn's masters, in the order of their starts (USR2), each once it listens."""
        return [int(pid) for pid in re.findall(r"Listening at: \S+ \((\d+)\)", self.printed())]

    def press_control_c(self) -> int:
        """SIGINT to the whole process group, as a terminal sends it; return the exit status."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(STOP_SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(STOP_SECONDS)


Start = Callable[..., Command]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A function that starts one of the two commands; SERVE from a folder outside of the checkout."""
    started: list[Command] = []

    def start(
        command: list[str],
        settings: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Command:
        default = {"version": 0.1, "http": {"addr": "127.0.0.1:0"}}
        default["storage"] = {"filesystem": {"rootdirectory": str(tmp_path / "store")}}
        folder = REPOSITORY if command is GUNICORN else tmp_path
        started.append(Command(command, folder, tmp_path, settings or default, environment or {}))
        return started[-1]

    yield start
    for command in started:
        command.close()
