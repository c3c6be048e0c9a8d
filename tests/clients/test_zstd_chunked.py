"""podman with partial pulls: of a layer in zstd:chunked it asks for its table, and then for chunks that it lacks."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.harness.components import require
from tests.harness.content import APP
from tests.harness.fixture_types import MakeCache
from tests.harness.images import KiB, random_bytes
from tests.harness.programs import environment
from tests.harness.upstream import FakeUpstream

# It mounts overlays.
pytestmark = pytest.mark.needs_root

SECONDS = 60
STORAGE = """
[storage]
driver = "overlay"
runroot = "{0}/run"
graphroot = "{0}/graph"
[storage.options]
pull_options = {{enable_partial_images = "true", use_hard_links = "false", ostree_repos = ""}}
"""


@pytest.fixture
def disk(short_path: Path) -> Iterator[Path]:
    """A file system on which overlays can be stacked, whatever the tests run on."""
    folder = short_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--recursive", "--lazy", str(folder)], check=True)


class PartialPodman:
    """podman with a storage of its own in `disk`, which may pull over plain HTTP."""

    def __init__(self, folder: Path, disk: Path, name: str) -> None:
        self._folder = folder / name
        self._folder.mkdir()
        (self._folder / "storage.conf").write_text(STORAGE.format(disk / name), encoding="utf-8")
        (self._folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}', "utf-8")
        containers = '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n'
        (self._folder / "containers.conf").write_text(containers, encoding="utf-8")
        variables = {f"CONTAINERS_{each}_CONF": str(self._folder / f"{each.lower()}.conf") for each in ("STORAGE",)}
        variables["CONTAINERS_CONF"] = str(self._folder / "containers.conf")
        self._environment = environment(self._folder / "home", **variables)

    def run(self, *arguments: str) -> str:
        command = [require("podman"), "--tmpdir", str(self._folder / "tmp"), *arguments]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def pull(self, name: str) -> None:
        self.run("pull", "--tls-verify=false", "--signature-policy", str(self._folder / "policy.json"), name)

    def publish(self, files: Mapping[str, bytes], upstream: FakeUpstream, tag: str) -> str:
        """Have a one-layer image of these files in zstd:chunked at upstream; the layer's digest."""
        with tarfile.open(self._folder / "files.tar", "w") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        image, out = self.run("import", "--quiet", str(self._folder / "files.tar")), self._folder / f"image{tag}"
        policy = str(self._folder / "policy.json")
        how = ("--compress", "--compression-format", "zstd:chunked", "--format", "oci", "--signature-policy", policy)
        self.run("push", *how, image, f"dir:{out}")
        manifest = (out / "manifest.json").read_bytes()
        for part in (json.loads(manifest)["config"], *json.loads(manifest)["layers"]):
            assert upstream.add_blob((out / part["digest"].partition(":")[2]).read_bytes()) == part["digest"]
        upstream.add_manifest(manifest, tag=tag)
        return str(json.loads(manifest)["layers"][0]["digest"])


def test_chunks_that_podman_lacks_are_all_that_upstream_sends(
    upstream: FakeUpstream, make_cache: MakeCache, short_path: Path, disk: Path
) -> None:
    cache = make_cache()
    files = {f"data{number}": random_bytes(200 * KiB, number) for number in range(40)}
    maker, client = (PartialPodman(short_path, disk, name) for name in ("maker", "client"))
    first = maker.publish(files, upstream, "1")
    changed = random_bytes(200 * KiB, "changed")
    second = maker.publish({**files, "data7": changed}, upstream, "2")

    client.pull(f"{cache.address}/{APP}:1")
    client.pull(f"{cache.address}/{APP}:2")

    sizes = [len(upstream.blob(APP, layer) or b"") for layer in (first, second)]
    assert upstream.bytes_sent(first) == sizes[0]
    assert upstream.bytes_sent(second) < sizes[1] // 10
    mounted = Path(client.run("image", "mount", f"{cache.address}/{APP}:2"))
    assert (mounted / "data7").read_bytes() == changed
    assert (mounted / "data8").read_bytes() == files["data8"]


def test_more_chunks_than_a_head_has_room_for_are_asked_for_in_fewer_parts(
    upstream: FakeUpstream, make_cache: MakeCache, short_path: Path, disk: Path
) -> None:
    """Every other file is new; podman asks for each by itself, then for fewer, and never for the whole layer."""
    cache = make_cache()
    files = {f"data{number:04}": random_bytes(2 * KiB, number) for number in range(2000)}
    new = {name: random_bytes(2 * KiB, f"new {name}") for name in list(files)[400:1600:2]}
    maker, client = (PartialPodman(short_path, disk, name) for name in ("maker", "client"))
    maker.publish(files, upstream, "1")
    second = maker.publish({**files, **new}, upstream, "2")

    client.pull(f"{cache.address}/{APP}:1")
    client.pull(f"{cache.address}/{APP}:2")

    assert "a Range of more than" in cache.log_text()
    assert upstream.bytes_sent(second) < 0.8 * len(upstream.blob(APP, second) or b"")
    mounted = Path(client.run("image", "mount", f"{cache.address}/{APP}:2"))
    assert all((mounted / name).read_bytes() == data for name, data in {**files, **new}.items())
