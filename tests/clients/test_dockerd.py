"""dockerd with --registry-mirror. Docker Hub is unreachable, so a pull that succeeds came through the mirror."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.dockerd import Docker, running_dockerd
from tests.clients.mirror import HUB, Mirror
from tests.clients.stories import PullStories

pytestmark = pytest.mark.needs_root


@pytest.fixture(scope="session")
def shared_dockerd(shared_mirror: Mirror) -> Iterator[Path]:
    with running_dockerd(shared_mirror) as folder:
        yield folder


@pytest.fixture
def dockerd(request: pytest.FixtureRequest, mirror: Mirror, shared_mirror: Mirror) -> Iterator[Path]:
    """The folder of a dockerd that uses `mirror`."""
    if mirror is shared_mirror:
        yield request.getfixturevalue("shared_dockerd")
        return
    with running_dockerd(mirror) as folder:
        yield folder


@pytest.fixture
def docker(dockerd: Path, tmp_path: Path, mirror: Mirror) -> Iterator[Docker]:
    docker = Docker(dockerd, tmp_path)
    yield docker
    # Later tests rely on pulling all their layers.
    if left := docker.output("image", "ls", "--all", "--quiet", "--no-trunc").split():
        docker.output("image", "rm", "--force", *set(left))


class TestDockerd(PullStories):
    @pytest.fixture
    def client(self, docker: Docker) -> Docker:
        return docker


def test_the_daemon_tells_of_its_mirror(mirror: Mirror, docker: Docker) -> None:
    told = json.loads(docker.output("info", "--format", "{{json .RegistryConfig.Mirrors}}"))
    assert told == [f"{mirror.cache.url}/"]


def test_it_pulls_by_the_lines_of_setup(mirror: Mirror, tmp_path: Path) -> None:
    files = mirror.setup("docker")
    with running_dockerd(mirror, daemon_json=files["/etc/docker/daemon.json"]) as folder:
        docker = Docker(folder, tmp_path)
        index = mirror.add_index("docker")
        assert docker.pull(f"{HUB}/{index.repository}:1").returncode == 0
        docker.check(f"{HUB}/{index.repository}:1", index)

        other = mirror.add_index("docker", mirror.other)
        typed = files[""].replace("OWNER/IMAGE:TAG", f"{other.repository}:1").split()
        assert typed[:2] == ["docker", "pull"]
        assert docker.pull(typed[2]).returncode == 0
        docker.check(typed[2], other)
