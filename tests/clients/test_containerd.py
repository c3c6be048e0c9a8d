"""containerd and ctr, which name the registry in `?ns=`."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.mirror import HUB, OTHER, Mirror, native
from tests.clients.stories import NamedRegistryStories
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


pytestmark = pytest.mark.needs_root


@pytest.fixture(scope="session")
def containerd() -> Iterator[Path]:
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

    def __init__(self, containerd: Path, hosts: Path, mirror: Mirror, path: str = "", rest: str = CAPABILITIES) -> None:
        self._folder = containerd
        self._hosts = hosts
        self._address = mirror.cache.address
        super().__init__([require("ctr"), "--address", str(containerd / "grpc")], environment(containerd / "home"))
        for name, server in SERVERS.items():
            (hosts / name).mkdir(parents=True)
            hosts_file = HOSTS.format(server=server, url=mirror.cache.url + path.format(name=name), rest=rest)
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


@pytest.fixture
def ctr(containerd: Path, tmp_path: Path, mirror: Mirror) -> Ctr:
    return Ctr(containerd, tmp_path / "hosts", mirror)


class TestContainerd(NamedRegistryStories):
    @pytest.fixture
    def client(self, ctr: Ctr) -> Ctr:
        return ctr


def test_every_platform_of_an_index_is_pulled(mirror: Mirror, ctr: Ctr) -> None:
    index = mirror.add_index("oci", compression="zstd")
    name = f"{HUB}/{index.repository}:1"
    assert ctr.pull(name, "--all-platforms").returncode == 0
    blobs = {digest for image in index.images for digest in (image.digest, *image.blobs)}
    ctr.check_content({index.digest, *blobs})
    assert {digest: mirror.upstream.gets(digest) for digest in blobs} == dict.fromkeys(blobs, 1)


def test_a_mirror_with_referrers_is_not_asked_by_version_1(mirror: Mirror, containerd: Path, tmp_path: Path) -> None:
    """It refuses the file; docs/clients.md has the form for each version."""
    index = mirror.add_index("oci")
    ctr = Ctr(containerd, tmp_path / "hosts", mirror, rest='capabilities = ["pull", "resolve", "referrers"]')
    result = ctr.pull(f"{HUB}/{index.repository}:1")
    assert result.returncode != 0
    assert mirror.upstream.requests("HEAD") == []
    assert "unknown capability" in result.stderr


def test_a_registry_may_be_named_in_the_path_as_well(mirror: Mirror, containerd: Path, tmp_path: Path) -> None:
    """For the stargz snapshotter, which reads the same file and sends no `ns`."""
    index = mirror.add_index("oci", mirror.other)
    ctr = Ctr(containerd, tmp_path / "hosts", mirror, "/v2/{name}", f"{CAPABILITIES}\noverride_path = true")
    name = f"{OTHER}/{index.repository}:1"
    assert ctr.pull(name).returncode == 0
    ctr.check(name, index)
