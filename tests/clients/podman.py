"""podman with the mirror in its registries.conf; all that it keeps is in one folder."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.clients.archives import check_archive, saved_as
from tests.clients.containers import configure, policy
from tests.clients.mirror import Mirror, native
from tests.harness.components import require
from tests.harness.images import Index
from tests.harness.programs import run, succeed


class Podman:
    takes_zstd = True

    def __init__(self, folder: Path, mirror: Mirror) -> None:
        self._folder = folder
        self._mirror = mirror
        self._env = configure(folder, mirror)
        self._command = [require("podman"), "--root", str(folder / "root"), "--runroot", str(folder / "run")]
        self._command += ["--tmpdir", str(folder / "tmp"), "--storage-driver", "vfs", "--runtime", require("runc")]

    def output(self, *arguments: str) -> str:
        return succeed([*self._command, *arguments], self._env)

    def pull(self, name: str) -> subprocess.CompletedProcess[str]:
        return run([*self._command, "pull", "--signature-policy", str(policy(self._folder)), name], self._env)

    def has(self, name: str) -> bool:
        return run([*self._command, "image", "exists", name], self._env).returncode == 0

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
