"""Start the program without importing it anew each time: what `fork_server.py` forks, as if it were a `Popen`.

Everything but the imports is as in a new process: its session, descriptors, environment, folder and exit. Stories about
the start itself start a process (`serving.py`, `PROGRAM`).
"""

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.harness import fork_server
from tests.harness.checkout import REPOSITORY

KILL_SECONDS = 30.0

# gunicorn's master as it is when it forks: it has imported this and no application.
MASTER = [
    "gunicorn.app.wsgiapp",
    "registry_cache.commands.rules",
    "registry_cache.server.settings",
    "registry_cache.server.worker",
]
# What keeps parts of the standard library that gevent replaces in a worker, and so is imported where they are replaced
# (tests/harness_check/test_forks.py); and what each server chooses anew. What imports none of it is imported before.
LATER = [
    *("boto3", "botocore", "bcrypt", "flask", "jinja2", "redis", "requests", "urllib3", "werkzeug"),
    *("registry_cache.api", "registry_cache.cluster", "registry_cache.commands", "registry_cache.pull"),
    *("registry_cache.server", "registry_cache.runtime.threadpool"),
    *("registry_cache.runtime.request_context", "registry_cache.runtime.metrics", "registry_cache.auth.slowdown"),
    *("registry_cache.stats.command_recorder", "registry_cache.stats.nginx_hits"),
    "registry_cache.store.partial_downloads",
    *("registry_cache.upkeep.daily_pass", "registry_cache.upkeep.read_throttle", "registry_cache.upstream"),
]
# What a worker imports itself, though not what each master or worker has of its own.
IN_WORKER = ["registry_cache.app"]
LAZY = ["registry_cache.runtime.metrics", "registry_cache.runtime.request_context"]
_COMMANDS = ["registry_cache.cli", "registry_cache.wiring.services", "registry_cache.wiring.statistics"]
_SERVER = (
    "registry_cache.commands.gunicorn_settings",
    "registry_cache.commands.serve",
    "registry_cache.commands.start",
)


def others() -> list[str]:
    """Every module of the package."""
    files = sorted((REPOSITORY / "registry_cache").rglob("*.py"))
    return [".".join(file.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__") for file in files]


def commands() -> list[str]:
    """What commands import when they run, but for those that start a server."""
    modules = [name for name in others() if name.startswith("registry_cache.commands.") and name not in _SERVER]
    return [*_COMMANDS, *modules]


class Fork:
    """A running program; its methods are Popen's."""

    def __init__(self, server: "_Server", command: Sequence[str], pid: int, told: int) -> None:
        self.args, self.pid = command, pid
        self.returncode: int | None = None
        self._server, self._told = server, told
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, seconds: float | None) -> int | None:
        with self._lock:
            if self.returncode is None:
                poll = select.poll()
                poll.register(self._told, select.POLLIN)
                if poll.poll(None if seconds is None else seconds * 1000):
                    # Nothing, if the server was killed.
                    self.returncode = int(os.read(self._told, 16) or b"-9")
                    os.close(self._told)
                    self._server.bury(self.pid)
            return self.returncode


class _Server:
    """`fork_server.py` in a process of its own, with these modules."""

    def __init__(self, modules: Sequence[Sequence[str]], environment: Mapping[str, str], folder: Path) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", fork_server.__file__, str(theirs.fileno()), json.dumps(modules)],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        atexit.register(self.close)

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, descriptors: Mapping[int, int]
    ) -> Fork:
        """`descriptors`: the number that each is to have there, and its number here."""
        told, tell = os.pipe()
        task = {
            "command": list(command),
            "environment": dict(environment),
            "folder": str(folder),
            "numbers": list(descriptors),
        }
        try:
            with self._lock:
                message = json.dumps({"task": task}).encode()
                socket.send_fds(self._control, [message], [tell, *descriptors.values()])
                pid = int(self._control.recv(32))
        finally:
            os.close(tell)
        return Fork(self, command, pid, told)

    def bury(self, pid: int) -> None:
        """Its status is known: its number may be another's."""
        with self._lock:
            self._control.send(json.dumps({"bury": pid}).encode())

    def close(self) -> None:
        self._control.close()
        self._process.wait(KILL_SECONDS)


@functools.cache
def _server(is_gunicorn: bool, environment: tuple[tuple[str, str], ...], folder: Path, _network: str) -> _Server:
    modules = [MASTER, others(), LATER, LAZY, IN_WORKER] if is_gunicorn else [[], [], [], LAZY, commands()]
    return _Server(modules, dict(environment), folder)


def _start(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, descriptors: Mapping[int, int]
) -> Fork:
    """Start it where the imports saw the same folder and environment, but for what only we read when we run.

    And in the network of this thread: `network.py` may have left the machine's.
    """
    names = sorted(name for name in environment if name != "HOME" and not name.startswith("REGISTRY_"))
    seen = tuple((name, environment[name]) for name in names)
    network = os.readlink("/proc/thread-self/ns/net")
    return _server(command[0] == "gunicorn", seen, folder, network).start(command, environment, folder, descriptors)


def start_server(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: int, sockets: Sequence[int]
) -> Fork:
    """Start `python -m gunicorn …`, with these sockets by their numbers."""
    with open(os.devnull) as nothing:
        descriptors = {0: nothing.fileno(), 1: log, 2: log} | {number: number for number in sockets}
        return _start(["gunicorn", *arguments], environment, folder, descriptors)


def run_command(
    command: Sequence[str], environment: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run the console script until it exits, as `subprocess.run` does."""
    with open(os.devnull) as nothing, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        descriptors = {0: nothing.fileno(), 1: out.fileno(), 2: err.fileno()}
        process = _start(command, environment, Path.cwd(), descriptors)
        try:
            status = process.wait(seconds)
        except BaseException:
            process.kill()
            process.wait(KILL_SECONDS)
            raise
        printed = []
        for file in (out, err):
            file.seek(0)
            printed.append(file.read().decode())
        return subprocess.CompletedProcess(command, status, *printed)
