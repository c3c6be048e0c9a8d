"""containerd, and ctr, its command, with the mirror in hosts.toml."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.clients.mirror import HUB, OTHER, Mirror, native
from tests.clients.tool import Tool
from tests.harness.components import require
from tests.harness.content import digest_of
from tests.harness.images import Index
from tests.harness.programs import Daemon, environment, short_folder

SNAPSHOTTER = "native"
CONFIG = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [
    "io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.overlayfs", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "{folder}/grpc"
[ttrpc]
address = "{folder}/ttrpc"
"""
HOSTS = """
server = "https://{server}"
[host."{url}"]
{rest}
"""
CAPABILITIES = 'capabilities = ["pull", "resolve"]'
# Docker Hub's server has another name.
SERVERS = {HUB: "registry-1.docker.io", OTHER: OTHER}


@contextmanager
def running_containerd() -> Iterator[Path]:
    """The folder of a running containerd."""
    with short_folder() as folder:
        (folder / "config.toml").write_text(CONFIG.format(folder=folder), encoding="utf-8")
        command = [require("containerd"), "--config", str(folder / "config.toml")]
        daemon = Daemon(folder, command, environment(folder / "home"))
        try:
            yield folder
        finally:
            daemon.stop()


class Ctr(Tool):
    takes_zstd = True

    def __init__(
        self,
        containerd: Path,
        hosts: Path,
        mirror: Mirror,
        path: str = "",
        rest: str = CAPABILITIES,
        before: str = "",
    ) -> None:
        self._folder = containerd
        self._hosts = hosts
        self._address = mirror.cache.address
        super().__init__([require("ctr"), "--address", str(containerd / "grpc")], environment(containerd / "home"))
        for name, server in SERVERS.items():
            (hosts / name).mkdir(parents=True)
            hosts_file = HOSTS.format(server=server, url=mirror.cache.url + path.format(name=name), rest=rest)
            if before:
                hosts_file = hosts_file.replace("[host.", f'[host."http://{before}"]\n{rest}\n[host.')
            (hosts / name / "hosts.toml").write_text(hosts_file, encoding="utf-8")

    def pull(self, name: str, *options: str) -> subprocess.CompletedProcess[str]:
        how = ["--plain-http"] if name.startswith(self._address) else ["--hosts-dir", str(self._hosts)]
        return self.run("images", "pull", "--snapshotter", SNAPSHOTTER, *how, *options, name)

    def has(self, name: str) -> bool:
        return name in self.output("images", "list", "--quiet").split()

    def remove(self, name: str) -> None:
        self.output("images", "remove", "--sync", name)

    def check(self, name: str, index: Index) -> None:
        image = native(index)
        _, row = self.output("images", "check", "--snapshotter", SNAPSHOTTER, f"name=={name}").splitlines()
        assert f" {index.digest} complete (4/4) " in " ".join(row.split())
        self.check_content({index.digest, image.digest, *image.blobs})

    def check_content(self, digests: set[str]) -> None:
        """Hash the files of containerd's own store."""
        blobs = self._folder / "root" / "io.containerd.content.v1.content" / "blobs"
        for digest in digests:
            assert digest_of((blobs / digest.replace(":", "/")).read_bytes()) == digest
