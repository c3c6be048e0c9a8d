"""dockerd with --registry-mirror. Docker Hub is unreachable, so a pull that succeeds came through the mirror."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.dockerd import Docker, running_dockerd
from tests.clients.mirror import Mirror
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
