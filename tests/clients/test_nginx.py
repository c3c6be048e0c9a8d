"""Real clients through nginx as `registry-cache nginx` sets it up: nginx answers the second pull of a blob itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.clients.mirror import HUB, Mirror, native
from tests.clients.podman import Podman
from tests.clients.skopeo import Skopeo
from tests.clients.stories import Client
from tests.harness.images import Kind
from tests.harness.nginx_rig import Behind, running
from tests.harness.programs import short_folder
from tests.harness.server import CacheServer
from tests.harness.waiting import eventually


@pytest.fixture(scope="module")
def behind() -> Iterator[Behind]:
    with short_folder() as folder, running(folder) as behind:
        yield behind


@pytest.mark.parametrize(("make", "kind"), [(Skopeo, "oci"), (Podman, "docker")])
def test_a_second_pull(behind: Behind, short_path: Path, make: type[Skopeo] | type[Podman], kind: Kind) -> None:
    # Clients use nothing of the cache but its address.
    mirror = Mirror(cast(CacheServer, behind.nginx), behind.upstream, behind.other)
    client: Client = make(short_path, mirror)
    index = mirror.add_index(kind)
    name, image = f"{HUB}/{index.repository}:1", native(index)

    for _ in range(2):
        result = client.pull(name)
        assert result.returncode == 0, result.stderr
        client.check(name, index)
        client.remove(name)

    assert [behind.upstream.gets(blob) for blob in image.blobs] == [1] * len(image.blobs)
    eventually(lambda: all(any(blob in line and " app=- " in line for line in lines(behind)) for blob in image.blobs))


def lines(behind: Behind) -> list[str]:
    return behind.log().splitlines()
