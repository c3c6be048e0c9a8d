"""skopeo, which copies every byte unchanged, so that all of them can be hashed."""

import json
from pathlib import Path

import pytest

from tests.clients.mirror import HUB, OTHER, Mirror
from tests.clients.skopeo import Skopeo
from tests.clients.stories import NamedRegistryStories
from tests.harness.content import digest_of
from tests.harness.images import Kind, make_artifact, sign_as_cosign


@pytest.fixture
def skopeo(tmp_path: Path, mirror: Mirror) -> Skopeo:
    return Skopeo(tmp_path, mirror)


class TestSkopeo(NamedRegistryStories):
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
    # By address, because skopeo does not ask mirrors for tags.
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


def test_it_pulls_by_the_lines_of_setup(mirror: Mirror, skopeo: Skopeo, tmp_path: Path) -> None:
    """Of Docker Hub, and of a registry that is not the default; both are unreachable."""
    [lines] = [text for file, text in mirror.setup("skopeo").items() if file]
    (tmp_path / "registries.conf").write_text(lines, encoding="utf-8")
    for registry, upstream in ((HUB, mirror.upstream), (OTHER, mirror.other)):
        index = mirror.add_index("oci", upstream)
        name = f"{registry}/{index.repository}:1"
        assert skopeo.pull(name).returncode == 0
        skopeo.check(name, index)
