"""The systems that are measured, each with its shipped defaults, a fresh store and a port of the kernel's choice."""

import os
import re
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from bench import nginx
from bench.content import Content
from bench.processes import Program, cpu_seconds, peak_memory, tree
from bench.upstreams import Upstream

OURS, BEHIND_NGINX, LIMIT = "ours", "ours behind nginx", "limit"
DISTRIBUTION, DISTRIBUTION_3 = "distribution", "distribution 3"
# The variable that names each one's program, and a package's. None of Debian's has the third version.
_PROGRAMS = {DISTRIBUTION: ("DISTRIBUTION", "docker-registry"), DISTRIBUTION_3: ("DISTRIBUTION_3", "")}
_PROGRAM = Path(sys.executable).with_name("registry-cache")
_PORT = re.compile(r"listening on ([0-9.]+:[0-9]+)")


class System(ABC):
    """Programs that serve at ``url``, once started; everything of them lies in ``folder``."""

    name: str

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.url = ""
        self.folder = folder
        self._programs: list[Program] = []

    @abstractmethod
    def start(self, upstream: Upstream) -> None:
        """Start what serves first, and then what stands before it. RuntimeError, after which ``stop`` must follow."""

    @property
    def cold_url(self) -> str:
        """Where clients pull what is not cached."""
        return self.url

    def stop(self) -> None:
        """End all of it."""
        for program in reversed(self._programs):
            program.stop()

    def cpu(self) -> float:
        """Seconds of all processes so far."""
        return cpu_seconds(program.pid for program in self._programs)

    def worker_memory(self) -> int:
        """The largest peak of a process that serves, in bytes."""
        return max(peak_memory(process.pid) for process in tree(self._programs[0].pid))

    def _run(self, command: list[str], descriptors: Sequence[int] = ()) -> Program:
        self._programs.append(Program(command, self.folder / "log", _environment(self.folder), descriptors))
        return self._programs[-1]


class Ours(System):
    """gunicorn alone, by `registry-cache serve`."""

    name = OURS

    def start(self, upstream: Upstream) -> None:
        config = _ours(self.folder, upstream, {})
        with nginx.listener() as listener:
            self.url = f"http://{nginx.name(listener)}"
            bind = ["--", "--bind", f"fd://{listener.fileno()}"]
            self._run([str(_PROGRAM), "serve", "--config", str(config), *bind], [listener.fileno()])


class BehindNginx(System):
    """The same on a socket, behind nginx with what `registry-cache nginx` prints."""

    name = BEHIND_NGINX

    def start(self, upstream: Upstream) -> None:
        socket = self.folder / "http.sock"
        config = _ours(self.folder, upstream, {"net": "unix", "addr": str(socket), "accel": True})
        program = self._run([str(_PROGRAM), "serve", "--config", str(config)])
        program.wait_for(lambda: "listening" if socket.exists() else None)
        with nginx.listener() as listener:
            self.url = f"http://{nginx.name(listener)}"
            text = self._nginx_configuration(config, nginx.name(listener))
            self._programs.append(nginx.start(self.folder / "nginx", text, [listener]))

    def _nginx_configuration(self, config: Path, address: str) -> str:
        command = [str(_PROGRAM), "nginx", "--config", str(config), "--plain", "--listen", address]
        environment = _environment(self.folder) | {"PATH": os.environ["PATH"]}
        printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        # The one thing changed: the log is not the machine's.
        return printed.stdout.replace("/var/log/nginx/", f"{self.folder}/")


class Distribution(System):
    """CNCF Distribution's proxy; its file says what Debian's says, without a login, and what to pull from."""

    name = DISTRIBUTION

    def start(self, upstream: Upstream) -> None:
        config = self.folder / "config.yml"
        storage = {
            "cache": {"blobdescriptor": "inmemory"},
            "filesystem": {"rootdirectory": str(self.folder / "store")},
            "delete": {"enabled": True},
        }
        http = {"addr": "127.0.0.1:0", "secret": "bench"}
        settings = {"version": 0.1, "storage": storage, "http": http, "proxy": {"remoteurl": upstream.url}}
        config.write_text(yaml.safe_dump(settings), encoding="utf-8")
        program = self._run([distribution(self.name) or self.name, "serve", str(config)])
        self.url = f"http://{program.wait_for(lambda: _port(program.text()))}"


class Distribution3(Distribution):
    """Its third version, with the same file, which says what its image's says."""

    name = DISTRIBUTION_3


class Limit(System):
    """nginx with the same files; where a pull is cold, the upstream itself without anything between."""

    name = LIMIT

    def __init__(self, folder: Path, content: Content) -> None:
        super().__init__(folder)
        self._content = content.folder
        self._upstream = ""

    def start(self, upstream: Upstream) -> None:
        self._upstream = upstream.url
        with nginx.listener() as listener:
            self.url = f"http://{nginx.name(listener)}"
            text = nginx.plain(nginx.name(listener), self._content)
            self._programs.append(nginx.start(self.folder / "nginx", text, [listener]))

    @property
    def cold_url(self) -> str:
        return self._upstream


def distribution(name: str) -> str | None:
    """The path of CNCF Distribution, DISTRIBUTION or DISTRIBUTION_3: what that variable names, else a package's.

    None where it is missing.
    """
    variable, packaged = _PROGRAMS[name]
    return shutil.which(os.environ.get(variable, packaged))


def makers(content: Content) -> dict[str, Callable[[Path], System]]:
    """What can be started here, by name."""
    found: dict[str, Callable[[Path], System]] = {OURS: Ours, BEHIND_NGINX: BehindNginx}
    found |= {kind.name: kind for kind in (Distribution, Distribution3) if distribution(kind.name)}
    return found | {LIMIT: lambda folder: Limit(folder, content)}


def _port(log: str) -> str | None:
    found = _PORT.search(log)
    return found[1] if found else None


def _ours(folder: Path, upstream: Upstream, http: dict[str, object]) -> Path:
    """Write a configuration that says nothing but where, and that the CDN of a far registry is none of our network."""
    config = folder / "config.yml"
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "store")}},
        "proxy": {"remoteurl": upstream.url, "private_redirects": True},
    }
    config.write_text(yaml.safe_dump({**settings, "http": http} if http else settings), encoding="utf-8")
    return config


def _environment(folder: Path) -> dict[str, str]:
    """Return an environment without anybody's configuration or credentials; without traces, as Distribution's image."""
    return {"HOME": str(folder), "LANG": "C.UTF-8", "OTEL_TRACES_EXPORTER": "none"}
