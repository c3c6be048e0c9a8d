"""The real server as operators run it: gunicorn with several workers, on a socket that the test has bound."""

import contextlib
import json
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.harness import forks, programs
from tests.harness.checkout import REPOSITORY
from tests.harness.programs import PROGRAM

BACKLOG = 4096
STOP_SECONDS = 60.0  # from SIGTERM to the exit, with transfers in progress
DEATH_SECONDS = 30.0  # from SIGKILL to the exit
FORK_SECONDS = 60.0  # from the start of the arbiter to its last worker
FORK_POLL_SECONDS = 0.01
# By default a stored copy is served after two seconds of silence, which on a busy machine would happen in any test.
PATIENCE = {"tag_timeout": "20s"}
# Anything else (proxies, credentials, a personal configuration) would change what is tested.
KEPT_ENVIRONMENT = re.compile(r"PATH|LANG|LC_.*|TMPDIR|TZ|VIRTUAL_ENV|PYTHON.*|COVERAGE.*|CI")


def clean_environment(**more: str) -> dict[str, str]:
    """The part of this process' environment that a server started by a test may see, and `more`."""
    return {name: value for name, value in os.environ.items() if KEPT_ENVIRONMENT.fullmatch(name)} | more


class CacheServer:
    """A running cache in front of `upstream_url`. Requests may be sent at once: the kernel queues them.

    Everything lives under `folder`: the store (unless `root` is another server's), config.yml, log. `config` is merged
    into the configuration, `environment` into a clean environment. It waits longer for a tag's HEAD than it would by
    default, unless `config` says how long. With `unix` it listens on that socket, too, as behind nginx. Where only
    commands are run, `started=False` spares the processor time that a start costs.
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
        started: bool = True,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.root = root or folder / "store"
        self.worker_count = workers
        self._application = application
        self.config_file = folder / "config.yml"
        self.log_file = folder / "log"
        settings: dict[str, Any] = {
            "version": 0.1,
            # Without a bound: the disk of the machine that runs the tests may be nearly full.
            "storage": {"filesystem": {"rootdirectory": str(self.root)}, "min_free": 0},
            "proxy": {"remoteurl": upstream_url, **PATIENCE},
        }
        settings = merge(settings, config or {})
        for name, upstream in settings.get("upstreams", {}).items():
            settings["upstreams"][name] = merge(PATIENCE, upstream)
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
        self.log_file.touch()
        self._killed = True
        if started:
            self.start()

    def start(self) -> None:
        self._killed = False
        descriptors = [listener.fileno() for listener in self._listeners]
        arguments = ["-c", str(REPOSITORY / "gunicorn.conf.py")]
        arguments += [word for descriptor in descriptors for word in ("--bind", f"fd://{descriptor}")]
        arguments += ["--workers", str(self.worker_count), self._application]
        with self.log_file.open("ab") as log:
            self._arbiter = forks.start_server(arguments, self._environment, REPOSITORY, log.fileno(), descriptors)

    def run(self, *arguments: str, seconds: float = 90.0) -> subprocess.CompletedProcess[str]:
        """Run `registry-cache …` with this server's configuration until it exits.

        The line that says which configuration and store it works with is compared here, and left out of its output.
        """
        done = forks.run_command([PROGRAM, *arguments], self._environment, seconds)
        out, err = map(programs.without_heading, (done.stdout, done.stderr))
        headings = done.stdout.removesuffix(out) + done.stderr.removesuffix(err)
        # The server says it in its log.
        if done.returncode != 2 and "serve" not in arguments:
            assert headings.removeprefix("# ") == ("" if "--json" in arguments else self._heading())
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def _heading(self) -> str:
        overrides = any(name.startswith("REGISTRY_") for name in self._environment.keys() - {"REGISTRY_CACHE_CONFIG"})
        environment = " and the environment" if overrides else ""
        root = yaml.safe_load(self.config_file.read_text())["storage"]["filesystem"]["rootdirectory"]
        return f"configuration: {self.config_file}{environment}; store: {root}\n"

    def run_on_terminal(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `registry-cache …` on a terminal, which receives standard output and standard error."""
        typed = shlex.join([PROGRAM, "--config", str(self.config_file), *arguments])
        return programs.run(["script", "-qec", typed, "/dev/null"], seconds=90.0)

    def workers(self) -> list[int]:
        """The process ids of all workers, once they have installed their signal handlers."""
        deadline = time.monotonic() + FORK_SECONDS
        while len(found := [pid for pid in _children(self._arbiter.pid) if _handles_signals(pid)]) < self.worker_count:
            assert self._arbiter.poll() is None, f"the server ended: {self.log_text()}"
            assert time.monotonic() < deadline, f"only workers {found} after {FORK_SECONDS} s"
            time.sleep(FORK_POLL_SECONDS)  # /proc does not notify
        return found

    def processes(self) -> list[int]:
        """The ids of the arbiter and its children, as they are now."""
        return [self._arbiter.pid, *sorted(_children(self._arbiter.pid))]

    def kill_worker(self, pid: int) -> None:
        """SIGKILL one worker and wait until it is dead. The arbiter starts another."""
        assert pid in _children(self._arbiter.pid), f"{pid} is no worker of this server"
        process = os.pidfd_open(pid)
        signal.pidfd_send_signal(process, signal.SIGKILL)
        await_death(process)

    def kill_master(self) -> list[int]:
        """SIGKILL the arbiter alone; returns its workers as pidfds, for `await_death`."""
        workers = [os.pidfd_open(pid) for pid in _children(self._arbiter.pid)]
        self._arbiter.kill()
        self._killed = True
        self._arbiter.wait(DEATH_SECONDS)
        return workers

    def kill_all(self) -> None:
        """SIGKILL the arbiter and all workers at once, as when the machine loses power. The port stays bound."""
        if self._killed or self._arbiter.poll() is not None:
            return
        workers = [os.pidfd_open(pid) for pid in _children(self._arbiter.pid)]
        os.killpg(self._arbiter.pid, signal.SIGKILL)
        self._killed = True
        self._arbiter.wait(DEATH_SECONDS)
        for worker in workers:
            await_death(worker)

    def restart(self) -> None:
        """Stop (if it runs) and start again on the same port, over the same store."""
        self.terminate()
        self.start()

    def terminate(self) -> None:
        """SIGTERM; it must exit in time with status 0. The port stays bound. Does nothing after `kill_all`."""
        if self._killed:
            return
        # A worker without handlers loses the SIGTERM, and the arbiter would wait for it in vain.
        self.workers()
        self._arbiter.terminate()
        try:
            status = self._arbiter.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise AssertionError(f"still running {STOP_SECONDS} s after TERM: {self.log_text()}") from None
        assert status == 0, f"exit status {status}: {self.log_text()}"

    def stop(self) -> None:
        """Stop the server; fail if its log contains a traceback."""
        try:
            self.terminate()
        finally:
            self.close()
        assert "Traceback" not in self.log_text(), self.log_text()

    def close(self) -> None:
        """Kill whatever still runs and close the port."""
        self.kill_all()
        self._kill_passes()
        for listener in self._listeners:
            listener.close()

    def _kill_passes(self) -> None:
        """SIGKILL the workers' cleanup processes, which run in sessions of their own and outlive the workers."""
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                process = os.pidfd_open(int(entry.name))
            except OSError:
                continue
            # After pidfd_open: the number may have been reused between listing /proc and opening it.
            if _is_pass(entry, self.root):
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                await_death(process)
            else:
                os.close(process)

    def log_text(self) -> str:
        """Everything the server has printed, over all its restarts."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def blob_file(self, digest: str) -> Path:
        """Where the store keeps a verified blob."""
        algorithm, _, hexadecimal = digest.partition(":")
        return self.root / "blobs" / algorithm / hexadecimal[:2] / hexadecimal

    def rss(self, pid: int) -> int:
        """Resident memory of one process, in bytes."""
        return int(_status(pid).get("VmRSS", "0 kB").split()[0]) * 1024


def await_death(process: int) -> None:
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
    """Is this a cleanup process of that store? Its command line names the root."""
    try:
        words = (process / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    except OSError:
        return False
    return "registry_cache.upkeep.cleanup_process" in words and any(json.dumps(str(root)) in word for word in words)


def _handles_signals(pid: int) -> bool:
    """Has this worker installed its signal handlers? SIGABRT is the last one, and the arbiter has none for it."""
    return bool(int(_status(pid).get("SigCgt", "0"), 16) & 1 << signal.SIGABRT - 1)


def _children(parent: int) -> list[int]:
    """The children of a process that /proc lists, without zombies (Z, X)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        status = _status(int(entry.name))
        if status.get("PPid") == str(parent) and status["State"][0] not in "ZX":
            found.append(int(entry.name))
    return found


def merge(base: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `extra`; nested mappings are merged."""
    merged = dict(base)
    for key, value in extra.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged
