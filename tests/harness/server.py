"""The product itself, as operators run it: gunicorn with several workers, in its own processes, on our socket."""

import contextlib
import json
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.harness import programs
from tests.harness.checkout import REPOSITORY
from tests.harness.programs import PROGRAM

BACKLOG = 4096
STOP_SECONDS = 60.0  # from TERM to the end, with transfers under way
DEATH_SECONDS = 30.0  # from KILL to the end
FORK_SECONDS = 60.0  # from the start of the arbiter to its last worker
FORK_POLL_SECONDS = 0.01
# A copy is served after two seconds of silence: on a busy machine also where no story wants it to be.
PATIENCE = {"tag_timeout": "20s"}
# Everything else stays out: proxies, credentials and somebody's own configuration would change what is tested.
KEPT_ENVIRONMENT = re.compile(r"PATH|LANG|LC_.*|TMPDIR|TZ|VIRTUAL_ENV|PYTHON.*|COVERAGE.*|CI")


def clean_environment(**more: str) -> dict[str, str]:
    """What a server that a test starts may know of this process' environment, and `more`."""
    return {name: value for name, value in os.environ.items() if KEPT_ENVIRONMENT.fullmatch(name)} | more


class CacheServer:
    """A running cache in front of `upstream_url`. Requests may be sent at once: the kernel queues them.

    Everything lives under `folder`: the store (unless `root` is another server's), config.yml, log. `config` is merged
    into the configuration, `environment` into a clean environment. It waits longer for a tag's HEAD than it would by
    default, unless `config` says how long. With `unix` it listens on that socket, too, as behind nginx.
    """

    def __init__(
        self,
        folder: Path,
        upstream_url: str,
        *,
        config: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        root: Path | None = None,
        workers: int = 2,
        application: str = "wsgi:app",
        unix: Path | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.root = root or folder / "store"
        self.worker_count = workers
        self._application = application
        self.config_file = folder / "config.yml"
        self.log_file = folder / "log"
        settings: dict[str, Any] = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": str(self.root)}},
            "proxy": {"remoteurl": upstream_url, **PATIENCE},
        }
        settings = _merge(settings, config or {})
        for name, upstream in settings.get("upstreams", {}).items():
            settings["upstreams"][name] = _merge(PATIENCE, upstream)
        self.config_file.write_text(yaml.safe_dump(settings), encoding="utf-8")
        # A home of its own: no .netrc, no .docker/config.json.
        self._environment = clean_environment(HOME=str(folder), REGISTRY_CACHE_CONFIG=str(self.config_file))
        self._environment |= environment or {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"http://{self.address}"
        self._listeners = [self._listener]
        if unix is not None:
            self._listeners.append(socket.socket(socket.AF_UNIX))
            self._listeners[-1].bind(str(unix))
            self._listeners[-1].listen(BACKLOG)
        self.start()

    def start(self) -> None:
        self._killed = False
        descriptors = [listener.fileno() for listener in self._listeners]
        command = [sys.executable, "-m", "gunicorn", "-c", str(REPOSITORY / "gunicorn.conf.py")]
        command += [word for descriptor in descriptors for word in ("--bind", f"fd://{descriptor}")]
        command += ["--workers", str(self.worker_count), self._application]
        with self.log_file.open("ab") as log:
            self._arbiter = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=descriptors,
                start_new_session=True,  # a process group of their own, so that all can be ended, and nobody else
            )

    def run(self, *arguments: str, seconds: float = 90.0) -> subprocess.CompletedProcess[str]:
        """`registry-cache …` with this server's configuration, to its end."""
        return programs.run([PROGRAM, *arguments], self._environment, seconds)

    def run_on_terminal(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`registry-cache …` as somebody types it: a terminal has its output, standard error as well."""
        typed = shlex.join([PROGRAM, "--config", str(self.config_file), *arguments])
        return programs.run(["script", "-qec", typed, "/dev/null"], seconds=90.0)

    def workers(self) -> list[int]:
        """The process ids of all workers; waits until they have their own signal handlers."""
        deadline = time.monotonic() + FORK_SECONDS
        while len(found := [pid for pid in _children(self._arbiter.pid) if _handles_signals(pid)]) < self.worker_count:
            assert self._arbiter.poll() is None, f"the server ended: {self.log_text()}"
            assert time.monotonic() < deadline, f"only workers {found} after {FORK_SECONDS} s"
            time.sleep(FORK_POLL_SECONDS)  # /proc tells no one when it changes
        return found

    def kill_worker(self, pid: int) -> None:
        """SIGKILL to one worker; returns when it is dead. The arbiter starts another."""
        assert pid in _children(self._arbiter.pid), f"{pid} is no worker of this server"
        process = os.pidfd_open(pid)
        signal.pidfd_send_signal(process, signal.SIGKILL)
        _await_death(process)

    def kill_all(self) -> None:
        """SIGKILL to the arbiter and every worker at once, as when the machine loses power. The port stays ours."""
        if self._arbiter.poll() is not None:
            return
        workers = [os.pidfd_open(pid) for pid in _children(self._arbiter.pid)]
        os.killpg(self._arbiter.pid, signal.SIGKILL)
        self._killed = True
        self._arbiter.wait(DEATH_SECONDS)
        for worker in workers:
            _await_death(worker)

    def restart(self) -> None:
        """Stop (if it runs) and start again on the same port, over the same store."""
        self.terminate()
        self.start()

    def terminate(self) -> None:
        """TERM, a bounded wait, and exit status 0; the port stays ours. Does nothing after `kill_all`."""
        if self._killed:
            return
        # A TERM that reaches a worker between its fork and its handlers is lost, and the arbiter waits for it in vain.
        self.workers()
        self._arbiter.terminate()
        try:
            status = self._arbiter.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise AssertionError(f"still running {STOP_SECONDS} s after TERM: {self.log_text()}") from None
        assert status == 0, f"exit status {status}: {self.log_text()}"

    def stop(self) -> None:
        """End everything, and fail if the log holds a traceback."""
        try:
            self.terminate()
        finally:
            self.close()
        assert "Traceback" not in self.log_text(), self.log_text()

    def close(self) -> None:
        """End whatever still runs, at once, and give up the port."""
        self.kill_all()
        self._kill_passes()
        for listener in self._listeners:
            listener.close()

    def _kill_passes(self) -> None:
        """SIGKILL to passes over the store that the workers started: in sessions of their own, they outlive these."""
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                process = os.pidfd_open(int(entry.name))
            except OSError:
                continue
            # Looked at behind the descriptor: a number may be another process' by now.
            if _is_pass(entry, self.root):
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                _await_death(process)
            else:
                os.close(process)

    def log_text(self) -> str:
        """Everything this server ever printed."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def blob_file(self, digest: str) -> Path:
        """Where the store keeps a verified blob."""
        algorithm, _, hexadecimal = digest.partition(":")
        return self.root / "blobs" / algorithm / hexadecimal[:2] / hexadecimal

    def rss(self, pid: int) -> int:
        """Resident bytes of one process."""
        return int(_status(pid).get("VmRSS", "0 kB").split()[0]) * 1024


def _await_death(process: int) -> None:
    """Wait for the end of a process, given as a pidfd; closes it."""
    poll = select.poll()
    poll.register(process, select.POLLIN)
    dead = poll.poll(DEATH_SECONDS * 1000)
    os.close(process)
    assert dead, "a process survived SIGKILL"


def _status(pid: int) -> dict[str, str]:
    """/proc/PID/status by name; {} if there is no such process any more."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _is_pass(process: Path, root: Path) -> bool:
    """Is this an evictor of that store? All that it is to do is on its command line."""
    try:
        words = (process / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    except OSError:
        return False
    return "registry_cache.upkeep.cleanup_process" in words and any(json.dumps(str(root)) in word for word in words)


def _handles_signals(pid: int) -> bool:
    """Has this worker installed its handlers? ABRT is the last of them, and one that the arbiter has not."""
    return bool(int(_status(pid).get("SigCgt", "0"), 16) & 1 << signal.SIGABRT - 1)


def _children(parent: int) -> list[int]:
    """Living children of a process, by /proc; a zombie (Z), reaped (X) or not, is none."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        status = _status(int(entry.name))
        if status.get("PPid") == str(parent) and status["State"][0] not in "ZX":
            found.append(int(entry.name))
    return found


def _merge(base: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """`extra` over `base`, mapping by mapping."""
    merged = dict(base)
    for key, value in extra.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged
