"""Real clients read the archives of ``registry-cache export``."""

import json
from pathlib import Path

import pytest

from tests.clients.mirror import HUB, Mirror, native
from tests.clients.podman import Podman
from tests.clients.skopeo import Skopeo
from tests.harness.content import digest_of
from tests.harness.images import Index, Kind


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive.tar"


def export(mirror: Mirror, index: Index, archive: Path, *options: str) -> str:
    """Warm and export; return the image's full name in the archive."""
    name = f"{HUB}/{index.repository}:1"
    for arguments in (["warm", name, *options], ["export", name, "--to", str(archive)]):
        done = mirror.cache.run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()[1]


# skopeo unpacks an archive with the owners that it records.
@pytest.mark.needs_root
@pytest.mark.parametrize(("kind", "tag", "every"), [("oci", ":1", False), ("docker", "", True)])
def test_skopeo_copies_the_same_bytes(
    mirror: Mirror, tmp_path: Path, archive: Path, kind: Kind, tag: str, every: bool
) -> None:
    index = mirror.add_index(kind)
    skopeo = Skopeo(tmp_path, mirror)
    export(mirror, index, archive, *(["--platform", "all"] if every else []))
    # skopeo finds images of Docker's media types by no tag, but the only image of an archive without a name.
    raw = skopeo.output("inspect", "--raw", f"oci-archive:{archive}{tag}")
    assert digest_of(raw.encode()) == index.digest

    # As `pull` does, so that the same checks apply.
    name = f"{HUB}/{index.repository}:1"
    skopeo.output("copy", *(["--all"] if every else []), f"oci-archive:{archive}{tag}", f"dir:{skopeo.folder(name)}")
    if every:
        skopeo.check_all(name, index)
    else:
        skopeo.check(name, index)


def test_podman_loads_it_under_its_name(mirror: Mirror, short_path: Path, archive: Path) -> None:
    index = mirror.add_index("docker")
    podman = Podman(short_path, mirror)
    name = export(mirror, index, archive)
    podman.output("load", "--quiet", "--input", str(archive), "--signature-policy", str(short_path / "policy.json"))
    podman.check(name, index)
    assert f"sha256:{json.loads(podman.output('image', 'inspect', name))[0]['Id']}" == native(index).config
