"""Run real programs without the proxies, home folder and logins of whoever runs the tests. Every wait is bounded."""

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.harness.components import require

PROGRAM = str(Path(sys.executable).with_name("registry-cache"))
CLIENT_SECONDS = 60.0  # for one command; a pull takes less than a second
READY_SECONDS = 60.0  # from the start of a daemon to its notification that it is ready
STOP_SECONDS = 45.0  # from SIGTERM to the exit of a daemon
# A proxy on the discard port, where nobody listens: the real Docker Hub is unreachable at once, on any machine. Go
# programs bypass proxies for loopback addresses.
NO_WAY_OUT = "http://127.0.0.1:9"


# Variables by which other programs find a proxy or authorities; where they are set, a warning of ours names them.
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy")
UNREAD = (*_PROXIES, "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
# The first line of what a command of ours tells a person.
HEADING = re.compile(r"\A(?:# )?configuration: .+; store: .+\r?\n")


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a client: no proxy that works, and a home folder of its own."""
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    ours = {"HOME": str(home), "TMPDIR": str(home / "tmp"), "XDG_RUNTIME_DIR": str(home)}
    return kept | ours | {"HTTP_PROXY": NO_WAY_OUT, "HTTPS_PROXY": NO_WAY_OUT} | more


def run(
    command: Sequence[str], env: Mapping[str, str] | None = None, seconds: float = CLIENT_SECONDS, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command until it exits, whatever its status; in this process' environment unless `env` is given.

    `more` goes to subprocess.run.
    """
    more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | more
    return subprocess.run(command, env=env, timeout=seconds, check=False, **more)


def without_heading(text: str) -> str:
    """What a command of ours printed, without its first line, which says which configuration and which store."""
    return HEADING.sub("", text)


def succeed(
    command: Sequence[str], env: Mapping[str, str] | None = None, seconds: float = CLIENT_SECONDS, **more: Any
) -> str:
    """Run a command that must not fail, and return its standard output. Parameters as for `run`."""
    result = run(command, env, seconds, **more)
    assert result.returncode == 0, f"{' '.join(command)}: exit status {result.returncode}: {result.stderr}"
    return result.stdout


class Daemon:
    """A daemon that notifies systemd when it is ready; all its files are under `folder`."""

    def __init__(self, folder: Path, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._folder = folder
        self._log_file = folder / "log"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, self._log_file.open("ab") as log:
            notify.bind(str(folder / "notify"))
            self._process = subprocess.Popen(
                # If the tests are killed, the daemon ends, too.
                [require("setpriv"), "--pdeathsig", "TERM", *command],
                env={**env, "NOTIFY_SOCKET": str(folder / "notify")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            if not self._tells_ready(notify):
                said = self._log_file.read_text(encoding="utf-8", errors="replace")
                self._kill()
                raise AssertionError(f"{command[0]} is not ready: {said}")

    def _tells_ready(self, notify: socket.socket) -> bool:
        ended = os.pidfd_open(self._process.pid)
        poll = select.poll()
        poll.register(notify, select.POLLIN)
        poll.register(ended, select.POLLIN)
        events = dict(poll.poll(READY_SECONDS * 1000))
        os.close(ended)
        return notify.fileno() in events and b"READY=1" in notify.recv(4096)

    def stop(self) -> None:
        """SIGTERM; it must exit in time and leave no process (a shim, another daemon) and no mount behind."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()
            raise AssertionError(f"{self._process.args!r} still ran {STOP_SECONDS} s after TERM") from None
        left, mounts = _processes_of(self._folder), _mounts_under(self._folder)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        for mount in mounts:
            run([require("umount"), "--lazy", mount], environment(self._folder))
        assert not left, f"processes left behind: {left}"
        assert not mounts, f"mounts left behind: {mounts}"

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait(STOP_SECONDS)


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder with a short path, unlike pytest's: a socket's may have 107 characters, and podman's runroot 50."""
    with tempfile.TemporaryDirectory(prefix="rc-", dir="/tmp") as folder:
        try:
            yield Path(folder)
        finally:
            _end_pauses(Path(folder))


def _end_pauses(folder: Path) -> None:
    """End what podman and buildah of an ordinary user leave behind: a process that holds their user namespace.

    podman writes its number into a file that all of a user's podmans share, so it is found by its environment.
    """
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it is another user's, or has ended meanwhile
            process = os.pidfd_open(int(entry.name))
            try:
                words = (entry / "environ").read_bytes().split(b"\0")
                if b"_PODMAN_PAUSE=1" in words and any(os.fsencode(f"={folder}/") in word for word in words):
                    signal.pidfd_send_signal(process, signal.SIGKILL)
            finally:
                os.close(process)


def _processes_of(folder: Path) -> list[int]:
    """Running processes with a path under `folder` on their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if os.fsencode(f"{folder}/") in words:
            found.append(int(entry.name))
    return found


def _mounts_under(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    points = [line.split()[4] for line in lines]
    return [point for point in reversed(points) if point.startswith(f"{folder}/")]
