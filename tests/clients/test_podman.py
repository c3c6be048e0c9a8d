"""podman with the mirror in its registries.conf."""

from pathlib import Path

import pytest

from tests.clients.mirror import HUB, OTHER, Mirror
from tests.clients.podman import Podman
from tests.clients.stories import NamedRegistryStories


@pytest.fixture
def podman(short_path: Path, mirror: Mirror) -> Podman:
    return Podman(short_path, mirror)


class TestPodman(NamedRegistryStories):
    @pytest.fixture
    def client(self, podman: Podman) -> Podman:
        return podman


def test_it_pulls_by_the_lines_of_setup(mirror: Mirror, podman: Podman, short_path: Path) -> None:
    """Of Docker Hub, and of a registry that is not the default; both are unreachable."""
    [lines] = [text for file, text in mirror.setup("podman").items() if file]
    (short_path / "registries.conf").write_text(lines, encoding="utf-8")
    for registry, upstream in ((HUB, mirror.upstream), (OTHER, mirror.other)):
        index = mirror.add_index("oci", upstream)
        name = f"{registry}/{index.repository}:1"
        assert podman.pull(name).returncode == 0
        podman.check(name, index)
