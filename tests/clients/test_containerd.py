"""containerd and ctr, which name the registry in `?ns=`."""

from pathlib import Path

import pytest

from tests.clients.containerd import CAPABILITIES, Ctr
from tests.clients.mirror import HUB, OTHER, Mirror
from tests.clients.stories import NamedRegistryStories
from tests.harness.components import require
from tests.harness.programs import environment, succeed

pytestmark = pytest.mark.needs_root


@pytest.fixture
def ctr(containerd: Path, tmp_path: Path, mirror: Mirror) -> Ctr:
    return Ctr(containerd, tmp_path / "hosts", mirror)


class TestContainerd(NamedRegistryStories):
    @pytest.fixture
    def client(self, ctr: Ctr) -> Ctr:
        return ctr


def test_every_platform_of_an_index_is_pulled(mirror: Mirror, ctr: Ctr) -> None:
    index = mirror.add_index("oci", compression="zstd")
    name = f"{HUB}/{index.repository}:1"
    assert ctr.pull(name, "--all-platforms").returncode == 0
    blobs = {digest for image in index.images for digest in (image.digest, *image.blobs)}
    ctr.check_content({index.digest, *blobs})
    assert {digest: mirror.upstream.gets(digest) for digest in blobs} == dict.fromkeys(blobs, 1)


def test_a_mirror_with_referrers_is_not_asked_by_version_1(mirror: Mirror, containerd: Path, tmp_path: Path) -> None:
    """It refuses the file; docs/clients.md has the form for each version."""
    index = mirror.add_index("oci")
    ctr = Ctr(containerd, tmp_path / "hosts", mirror, rest='capabilities = ["pull", "resolve", "referrers"]')
    result = ctr.pull(f"{HUB}/{index.repository}:1")
    assert result.returncode != 0
    assert mirror.upstream.requests("HEAD") == []
    assert "unknown capability" in result.stderr


def test_a_registry_may_be_named_in_the_path_as_well(mirror: Mirror, containerd: Path, tmp_path: Path) -> None:
    """For the stargz snapshotter, which reads the same file and sends no `ns`."""
    index = mirror.add_index("oci", mirror.other)
    ctr = Ctr(containerd, tmp_path / "hosts", mirror, "/v2/{name}", f"{CAPABILITIES}\noverride_path = true")
    name = f"{OTHER}/{index.repository}:1"
    assert ctr.pull(name).returncode == 0
    ctr.check(name, index)


def test_it_pulls_by_the_lines_of_setup(mirror: Mirror, containerd: Path, tmp_path: Path) -> None:
    files = mirror.setup("containerd")
    ctr = Ctr(containerd, tmp_path / "hosts", mirror)
    for registry, upstream in ((HUB, mirror.upstream), (OTHER, mirror.other)):
        (ctr_file,) = [text for file, text in files.items() if file.endswith(f"/{registry}/hosts.toml")]
        (tmp_path / "hosts" / registry / "hosts.toml").write_text(ctr_file, encoding="utf-8")
        index = mirror.add_index("oci", upstream)
        name = f"{registry}/{index.repository}:1"
        assert ctr.pull(name).returncode == 0
        ctr.check(name, index)
        ctr.remove(name)


def test_it_reads_the_configuration_of_setup(mirror: Mirror, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(mirror.setup("containerd")["/etc/containerd/config.toml"], encoding="utf-8")
    dump = succeed([require("containerd"), "--config", str(file), "config", "dump"], environment(tmp_path))
    assert 'config_path = "/etc/containerd/certs.d"' in dump
