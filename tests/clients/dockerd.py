"""dockerd with --registry-mirror."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.clients.mirror import Mirror
from tests.harness.components import require
from tests.harness.programs import Daemon, environment, short_folder

# In the daemon's own network namespace nothing is set up: pulling needs none of it.
OPTIONS = ["--storage-driver=vfs", "--iptables=false", "--ip6tables=false", "--bridge=none"]
# Its own retries of a blob wait for 5, 10, 15 … seconds; a cache that is right needs none of them.
OPTIONS += ["--max-download-attempts=1"]


@contextmanager
def running_dockerd(mirror: Mirror) -> Iterator[Path]:
    """The folder of a dockerd, which starts a containerd of its own."""
    with short_folder() as folder:
        # Without this one it would read the machine's own.
        (folder / "daemon.json").write_text("{}", encoding="utf-8")
        paths = {"data-root": "data", "exec-root": "exec", "pidfile": "pid", "config-file": "daemon.json"}
        command = [require("dockerd"), *OPTIONS, *(f"--{name}={folder / path}" for name, path in paths.items())]
        command += [f"--host=unix://{folder / 'api'}", f"--registry-mirror={mirror.cache.url}"]
        daemon = Daemon(folder, command, environment(folder / "home"))
        try:
            yield folder
        finally:
            daemon.stop()
