"""skopeo, which copies every byte as it is: all of it can be hashed."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.containers import configure, policy
from tests.clients.mirror import HUB, OTHER, Mirror, native
from tests.clients.stories import PullStories
from tests.harness.components import require
from tests.harness.content import digest_of
from tests.harness.images import Index, Kind, make_artifact, sign_as_cosign
from tests.harness.programs import run, succeed


class Skopeo:
    takes_zstd = True

    def __init__(self, folder: Path, mirror: Mirror) -> None:
        self._folder = folder
        self._env = configure(folder, mirror)
        self._command = [require("skopeo"), "--policy", str(policy(folder))]
        # The one of the three that does not look into the environment for it.
        self._command += ["--registries-conf", str(folder / "registries.conf")]

    def output(self, *arguments: str) -> str:
        return succeed([*self._command, *arguments], self._env)

    def pull(self, name: str, *options: str) -> subprocess.CompletedProcess[str]:
        copy = [*self._command, "copy", *options, f"docker://{name}", f"dir:{self.folder(name)}"]
        return run(copy, self._env)

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
        """The digests of all files of a copy; each is what the file's name says."""
        found = {
            path.name: digest_of(path.read_bytes())
            for path in self.folder(name).iterdir()
            if path.name not in ("version", "manifest.json")
        }
        assert {file.partition(".")[0] for file in found} == {digest.partition(":")[2] for digest in found.values()}
        return {digest_of((self.folder(name) / "manifest.json").read_bytes()), *found.values()}


@pytest.fixture
def skopeo(tmp_path: Path, mirror: Mirror) -> Skopeo:
    return Skopeo(tmp_path, mirror)


class TestSkopeo(PullStories):
    @pytest.fixture
    def client(self, skopeo: Skopeo) -> Skopeo:
        return skopeo


@pytest.mark.parametrize("kind", ["docker", "oci"])
def test_every_platform_of_an_index_is_copied_once(mirror: Mirror, skopeo: Skopeo, kind: Kind) -> None:
    index = mirror.add_index(kind)
    name = f"{HUB}/{index.repository}:1"
    for _ in range(2):
        assert skopeo.pull(name, "--all").returncode == 0
        skopeo.check_all(name, index)
        skopeo.remove(name)
    assert {mirror.upstream.gets(blob) for image in index.images for blob in (image.digest, *image.blobs)} == {1}
    assert mirror.upstream.counted_pulls == 3


@pytest.mark.parametrize("kind", ["docker", "oci"])
def test_a_manifest_comes_as_the_exact_bytes(mirror: Mirror, skopeo: Skopeo, kind: Kind) -> None:
    index = mirror.add_index(kind)
    for reference in (":1", f"@{index.digest}"):
        raw = skopeo.output("inspect", "--raw", f"docker://{HUB}/{index.repository}{reference}")
        assert digest_of(raw.encode()) == index.digest
    assert mirror.upstream.counted_pulls == 1


def test_tags_are_listed(mirror: Mirror, skopeo: Skopeo) -> None:
    index = mirror.add_index("oci")
    mirror.upstream.tag(index.repository, "2", index.images[0].digest)
    signature = sign_as_cosign(mirror.upstream, index.digest, index.repository)
    mirror.upstream.faults.page_size = 2
    # Only by address: skopeo asks no mirror for tags.
    listed = json.loads(skopeo.output("list-tags", f"docker://{mirror.cache.address}/{index.repository}"))
    assert sorted(listed["Tags"]) == sorted(["1", "2", signature])


def test_a_signature_and_an_artifact_with_a_subject_are_copied(mirror: Mirror, skopeo: Skopeo) -> None:
    index = mirror.add_index("oci")
    signature = sign_as_cosign(mirror.upstream, index.digest, index.repository)
    artifact = make_artifact(mirror.upstream, index.digest, index.repository)
    for reference in (f":{signature}", f"@{artifact}"):
        name = f"{HUB}/{index.repository}{reference}"
        result = skopeo.pull(name)
        assert result.returncode == 0, result.stderr
        found = mirror.upstream.manifest(index.repository, reference[1:])
        assert found is not None
        assert (skopeo.folder(name) / "manifest.json").read_bytes() == found[1].data


def test_the_registry_in_the_path_is_the_one_that_is_asked(mirror: Mirror, skopeo: Skopeo) -> None:
    index = mirror.add_index("oci", mirror.other)
    name = f"{OTHER}/{index.repository}:1"
    assert skopeo.pull(name).returncode == 0
    skopeo.check(name, index)
    assert mirror.upstream.requests() == []
