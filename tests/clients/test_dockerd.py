"""dockerd with --registry-mirror. Docker Hub is out of reach, so a pull that succeeds came through the mirror."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.archives import check_archive
from tests.clients.dockerd import running_dockerd
from tests.clients.mirror import Mirror, native
from tests.clients.stories import PullStories
from tests.harness.components import require
from tests.harness.images import Index
from tests.harness.programs import environment, run, succeed

pytestmark = pytest.mark.needs_root


@pytest.fixture(scope="session")
def shared_dockerd(shared_mirror: Mirror) -> Iterator[Path]:
    with running_dockerd(shared_mirror) as folder:
        yield folder


@pytest.fixture
def dockerd(request: pytest.FixtureRequest, mirror: Mirror, shared_mirror: Mirror) -> Iterator[Path]:
    """The folder of a dockerd that knows of `mirror`; it is told only when it starts."""
    if mirror is shared_mirror:
        yield request.getfixturevalue("shared_dockerd")
        return
    with running_dockerd(mirror) as folder:
        yield folder


class Docker:
    takes_zstd = False  # since 23

    def __init__(self, dockerd: Path, folder: Path) -> None:
        self._folder = folder
        self._env = environment(folder / "home")
        self._command = [require("docker"), "--host", f"unix://{dockerd / 'api'}"]

    def output(self, *arguments: str) -> str:
        return succeed([*self._command, *arguments], self._env)

    def pull(self, name: str) -> subprocess.CompletedProcess[str]:
        return run([*self._command, "pull", name], self._env)

    def has(self, name: str) -> bool:
        return run([*self._command, "image", "inspect", name], self._env).returncode == 0

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


@pytest.fixture
def docker(dockerd: Path, tmp_path: Path, mirror: Mirror) -> Iterator[Docker]:
    docker = Docker(dockerd, tmp_path)
    yield docker
    # Later tests rely on there being no layer here that they know.
    if left := docker.output("image", "ls", "--all", "--quiet", "--no-trunc").split():
        docker.output("image", "rm", "--force", *set(left))


class TestDockerd(PullStories):
    @pytest.fixture
    def client(self, docker: Docker) -> Docker:
        return docker


def test_the_daemon_tells_of_its_mirror(mirror: Mirror, docker: Docker) -> None:
    told = json.loads(docker.output("info", "--format", "{{json .RegistryConfig.Mirrors}}"))
    assert told == [f"{mirror.cache.url}/"]
