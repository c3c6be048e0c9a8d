"""podman with the mirror in its registries.conf."""

from pathlib import Path

import pytest

from tests.clients.mirror import Mirror
from tests.clients.podman import Podman
from tests.clients.stories import NamedRegistryStories


@pytest.fixture
def podman(short_path: Path, mirror: Mirror) -> Podman:
    return Podman(short_path, mirror)


class TestPodman(NamedRegistryStories):
    @pytest.fixture
    def client(self, podman: Podman) -> Podman:
        return podman
