"""podman, with the mirror in its registries.conf; and a container that runs from what it pulled."""

from pathlib import Path

import pytest

from tests.clients.mirror import OTHER, Mirror
from tests.clients.podman import Podman
from tests.clients.stories import PullStories


@pytest.fixture
def podman(short_path: Path, mirror: Mirror) -> Podman:
    return Podman(short_path, mirror)


class TestPodman(PullStories):
    @pytest.fixture
    def client(self, podman: Podman) -> Podman:
        return podman


def test_the_registry_in_the_path_is_the_one_that_is_asked(mirror: Mirror, podman: Podman) -> None:
    index = mirror.add_index("oci", mirror.other)
    name = f"{OTHER}/{index.repository}:1"
    assert podman.pull(name).returncode == 0
    podman.check(name, index)
    assert mirror.upstream.requests() == []
