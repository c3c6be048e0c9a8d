"""podman with the mirror in its registries.conf and its storage in one folder."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.clients.archives import check_archive, saved_as
from tests.clients.containers import configure, policy
from tests.clients.mirror import Mirror, native
from tests.clients.tool import Tool
from tests.harness.components import require
from tests.harness.images import Index


class Podman(Tool):
    takes_zstd = True

    def __init__(self, folder: Path, mirror: Mirror, *before: str) -> None:
        self._folder = folder
        command = [require("podman"), "--root", str(folder / "root"), "--runroot", str(folder / "run")]
        command += ["--tmpdir", str(folder / "tmp"), "--storage-driver", "vfs", "--runtime", require("runc")]
        super().__init__(command, configure(folder, mirror, *before))

    def pull(self, name: str) -> subprocess.CompletedProcess[str]:
        return self.run("pull", "--signature-policy", str(policy(self._folder)), name)

    def has(self, name: str) -> bool:
        return self.run("image", "exists", name).returncode == 0

    def remove(self, name: str) -> None:
        self.output("rmi", name)
        assert json.loads(self.output("images", "--all", "--format", "json")) == []

    def check(self, name: str, index: Index) -> None:
        found: list[dict[str, Any]] = json.loads(self.output("image", "inspect", name))
        assert found[0]["Digest"] == index.digest
        assert f"sha256:{found[0]['Id']}" == native(index).config
        archive, image = self._folder / "saved", native(index)
        self.output("save", "--quiet", "--format", saved_as(image), "--output", str(archive), found[0]["Id"])
        check_archive(archive, image)
        archive.unlink()
