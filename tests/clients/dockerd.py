"""dockerd with --registry-mirror, and docker, its command."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.clients.archives import check_archive
from tests.clients.mirror import Mirror, native
from tests.clients.tool import Tool
from tests.harness.components import require
from tests.harness.images import Index
from tests.harness.programs import Daemon, environment, short_folder

# Pulling needs no container network, so nothing of it is set up.
OPTIONS = ["--storage-driver=vfs", "--iptables=false", "--ip6tables=false", "--bridge=none"]
# Its retries of a blob wait 5, 10, 15 … seconds, and a correct cache needs none.
OPTIONS += ["--max-download-attempts=1"]


@contextmanager
def running_dockerd(mirror: Mirror, *before: str, daemon_json: str = "") -> Iterator[Path]:
    """The folder of a dockerd, which starts a containerd of its own. Mirrors `before` this one are asked first.

    Where `daemon_json` is given, that names its mirror.
    """
    with short_folder() as folder:
        # Without it dockerd would read the file of this machine.
        (folder / "daemon.json").write_text(daemon_json or "{}", encoding="utf-8")
        paths = {"data-root": "data", "exec-root": "exec", "pidfile": "pid", "config-file": "daemon.json"}
        command = [require("dockerd"), *OPTIONS, *(f"--{name}={folder / path}" for name, path in paths.items())]
        command += [f"--host=unix://{folder / 'api'}"]
        mirrors = [] if daemon_json else [*(f"http://{each}" for each in before), mirror.cache.url]
        command += [f"--registry-mirror={url}" for url in mirrors]
        daemon = Daemon(folder, command, environment(folder / "home"))
        try:
            yield folder
        finally:
            daemon.stop()


class Docker(Tool):
    takes_zstd = False  # since 23

    def __init__(self, dockerd: Path, folder: Path) -> None:
        self._folder = folder
        super().__init__([require("docker"), "--host", f"unix://{dockerd / 'api'}"], environment(folder / "home"))

    def pull(self, name: str) -> subprocess.CompletedProcess[str]:
        return self.run("pull", name)

    def has(self, name: str) -> bool:
        return self.run("image", "inspect", name).returncode == 0

    def remove(self, name: str) -> None:
        self.output("image", "rm", name)
        assert self.output("image", "ls", "--all", "--quiet") == ""

    def check(self, name: str, index: Index) -> None:
        (found,) = json.loads(self.output("image", "inspect", name))
        assert found["Id"] == native(index).config
        assert [digest.partition("@")[2] for digest in found["RepoDigests"]] == [index.digest]
        archive = self._folder / "saved.tar"
        self.output("save", "--output", str(archive), found["Id"])
        check_archive(archive, native(index))
        archive.unlink()
