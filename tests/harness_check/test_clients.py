"""Generated images are valid, and pulls and crowds report exactly what was sent."""

import subprocess
from pathlib import Path

import pytest

from tests.harness.components import require
from tests.harness.content import APP
from tests.harness.images import KiB, MiB, make_image, make_index, random_bytes
from tests.harness.pullers import Puller
from tests.harness.upstream import FakeUpstream

DATA = random_bytes(4 * MiB, seed=3)


@pytest.mark.parametrize(
    ("kind", "compression"), [("oci", "gzip"), ("oci", "zstd"), ("oci", ""), ("docker", "gzip"), ("docker", "")]
)
def test_skopeo_copies_an_image_by_token(upstream: FakeUpstream, tmp_path: Path, kind: str, compression: str) -> None:
    image = make_image(upstream, kind=kind, compression=compression)  # type: ignore[arg-type]
    upstream.faults.require_token = True
    _skopeo_copy(upstream, tmp_path)
    assert (tmp_path / "out" / "manifest.json").read_bytes() == image.manifest
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {blob.split(":")[1] for blob in image.blobs}


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_skopeo_copies_every_platform_of_an_index(upstream: FakeUpstream, tmp_path: Path, kind: str) -> None:
    index = make_index(upstream, kind=kind, layers=1)  # type: ignore[arg-type]
    _skopeo_copy(upstream, tmp_path, "--all")
    for image in index.images:
        assert (tmp_path / "out" / f"{image.digest.split(':')[1]}.manifest.json").read_bytes() == image.manifest


def test_skopeo_refuses_a_wrong_byte(upstream: FakeUpstream, tmp_path: Path) -> None:
    image = make_image(upstream)
    upstream.faults.of(image.layers[1]).corrupt_at = 1000
    with pytest.raises(subprocess.CalledProcessError):
        _skopeo_copy(upstream, tmp_path)


def _skopeo_copy(upstream: FakeUpstream, folder: Path, *options: str) -> None:
    command = [require("skopeo"), "--insecure-policy", "copy", *options, "--src-tls-verify=false"]
    command += [f"docker://{upstream.address}/{APP}:1", f"dir:{folder / 'out'}"]
    subprocess.run(command, check=True, capture_output=True, timeout=90)


def test_the_same_seed_makes_the_same_image(upstream: FakeUpstream) -> None:
    assert make_image(upstream, seed=7).digest == make_image(upstream, seed=7).digest
    assert make_image(upstream, seed=7).digest != make_image(upstream, seed=8).digest


def test_a_pull_that_is_abandoned_or_cut_is_not_complete(upstream: FakeUpstream, direct: Puller) -> None:
    blob = upstream.add_blob(DATA)
    upstream.faults.hold_at = 100 * KiB
    left = direct.start_blob(APP, blob)
    left.wait_for(100 * KiB)
    left.close()
    assert (left.finish().size, left.finish().complete) == (100 * KiB, False)
    with pytest.raises(AssertionError, match="102400 of 102401 bytes"):
        left.wait_for(100 * KiB + 1)


def test_a_crowd_tells_right_from_wrong_and_short(upstream: FakeUpstream, direct: Puller) -> None:
    blob = upstream.add_blob(DATA)
    upstream.faults.hold_at = 1 * MiB
    crowd = direct.start_crowd(50, APP, blob, DATA)
    crowd.wait_until_reading()
    assert upstream.in_flight(blob) == 50
    upstream.faults.corrupt_at, upstream.faults.corrupt_times = 4 * MiB - 1, 0
    upstream.faults.gate.set()
    good = crowd.finish()
    assert (good.right, good.wrong, good.short, good.statuses) == (50, 0, 0, {"200": 50})

    upstream.faults.corrupt_times, upstream.faults.cut_after = 3, [4 * MiB - 2] * 2
    bad = direct.start_crowd(20, APP, blob, DATA).finish()
    assert (bad.right + bad.wrong + bad.short, bad.short) in {(20, 2), (21, 2), (22, 2)}
    assert bad.right in (15, 16, 17)
    assert direct.start_crowd(5, APP, "sha256:" + "0" * 64, DATA).finish().statuses == {"404": 5}
