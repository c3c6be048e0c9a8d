"""buildah: the image after FROM comes through the mirror."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.clients.containers import configure, policy
from tests.clients.mirror import HUB, Mirror, native
from tests.clients.tool import Tool
from tests.harness.components import require
from tests.harness.images import Image, MiB


class Buildah(Tool):
    def __init__(self, folder: Path, mirror: Mirror) -> None:
        self._context = folder / "context"
        self._policy = str(policy(folder))
        storage = ["--root", str(folder / "root"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]
        super().__init__([require("buildah"), *storage], configure(folder, mirror))

    def build_from(self, name: str) -> subprocess.CompletedProcess[str]:
        """Build the image `built`: `name` and one more file, without running anything."""
        self._context.mkdir(exist_ok=True)
        (self._context / "extra").write_text("extra", encoding="utf-8")
        (self._context / "Containerfile").write_text(f"FROM {name}\nCOPY extra /extra\n", encoding="utf-8")
        build = ["bud", "--signature-policy", self._policy, "--isolation", "chroot", "--tag", "built"]
        return self.run(*build, str(self._context))

    def built_layers(self) -> list[str]:
        built = json.loads(self.output("inspect", "--type", "image", "built"))
        return list(built["OCIv1"]["rootfs"]["diff_ids"])


@pytest.fixture
def buildah(short_path: Path, mirror: Mirror) -> Buildah:
    return Buildah(short_path, mirror)


def test_a_second_build_costs_no_blob_and_no_counted_pull(mirror: Mirror, buildah: Buildah) -> None:
    index = mirror.add_index("docker")
    for _ in range(2):
        result = buildah.build_from(f"{HUB}/{index.repository}:1")
        assert result.returncode == 0, result.stderr
        assert buildah.built_layers()[:-1] == _layers(mirror, native(index))
        buildah.output("rmi", "--all")
    assert [mirror.upstream.gets(blob) for blob in native(index).blobs] == [1] * 4
    assert mirror.upstream.counted_pulls == 2


def test_nothing_is_built_from_a_wrong_byte(mirror: Mirror, buildah: Buildah) -> None:
    index = mirror.add_index("docker", layer_size=1 * MiB)
    mirror.upstream.faults.of(native(index).layers[1]).corrupt_at = 1000
    assert buildah.build_from(f"{HUB}/{index.repository}:1").returncode != 0
    assert json.loads(buildah.output("images", "--all", "--json") or "[]") in ([], None)


def _layers(mirror: Mirror, image: Image) -> list[str]:
    """The digests of an image's unpacked layers."""
    return list(json.loads(mirror.upstream.blob(image.repository, image.config) or b"")["rootfs"]["diff_ids"])
