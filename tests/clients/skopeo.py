"""skopeo with the mirror in its registries.conf; it copies images into folders of files that can be hashed."""

import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.clients.containers import configure, policy
from tests.clients.mirror import Mirror, native
from tests.clients.tool import Tool
from tests.harness.components import require
from tests.harness.content import digest_of
from tests.harness.images import Index


class Skopeo(Tool):
    takes_zstd = True

    def __init__(self, folder: Path, mirror: Mirror, **more: str) -> None:
        self._folder = folder
        # Unlike podman and buildah it does not take registries.conf from the environment.
        files = ["--policy", str(policy(folder)), "--registries-conf", str(folder / "registries.conf")]
        super().__init__([require("skopeo"), *files], configure(folder, mirror) | more)

    def pull(self, name: str, *options: str) -> subprocess.CompletedProcess[str]:
        return self.run("copy", *options, f"docker://{name}", f"dir:{self.folder(name)}")

    def folder(self, name: str) -> Path:
        return self._folder / hashlib.sha256(name.encode()).hexdigest()

    def has(self, name: str) -> bool:
        return (self.folder(name) / "manifest.json").exists()

    def remove(self, name: str) -> None:
        shutil.rmtree(self.folder(name))

    def check(self, name: str, index: Index) -> None:
        assert self._hashed(name) == {native(index).digest, *native(index).blobs}

    def check_all(self, name: str, index: Index) -> None:
        blobs = {digest for image in index.images for digest in (image.digest, *image.blobs)}
        assert self._hashed(name) == {index.digest, *blobs}

    def _hashed(self, name: str) -> set[str]:
        """The digests of all files of a copy; each must match the file's name."""
        found = {
            path.name: digest_of(path.read_bytes())
            for path in self.folder(name).iterdir()
            if path.name not in ("version", "manifest.json")
        }
        assert {file.partition(".")[0] for file in found} == {digest.partition(":")[2] for digest in found.values()}
        return {digest_of((self.folder(name) / "manifest.json").read_bytes()), *found.values()}
