"""Two mirrors that share nothing, of which the first does not run: each client goes on to the second by itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.containerd import Ctr
from tests.clients.dockerd import Docker, running_dockerd
from tests.clients.mirror import HUB, Mirror
from tests.clients.podman import Podman
from tests.clients.stories import Client


@pytest.fixture
def gone() -> Iterator[str]:
    """The address of a mirror that does not run. It is held, so that nobody else gets it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def pull_by_the_second(mirror: Mirror, client: Client) -> None:
    index = mirror.add_index("docker")
    name = f"{HUB}/{index.repository}:1"
    assert client.pull(name).returncode == 0
    client.check(name, index)
    assert mirror.upstream.gets(index.digest) == 1
    client.remove(name)


def test_podman(mirror: Mirror, short_path: Path, gone: str) -> None:
    pull_by_the_second(mirror, Podman(short_path, mirror, gone))


@pytest.mark.needs_root
def test_containerd(mirror: Mirror, containerd: Path, tmp_path: Path, gone: str) -> None:
    pull_by_the_second(mirror, Ctr(containerd, tmp_path / "hosts", mirror, before=gone))


@pytest.mark.needs_root
def test_dockerd(mirror: Mirror, tmp_path: Path, gone: str) -> None:
    with running_dockerd(mirror, gone) as folder:
        pull_by_the_second(mirror, Docker(folder, tmp_path))
