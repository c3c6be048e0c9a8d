"""``registry-cache import`` beside a server at work, which has at once what was imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from registry_cache.cli import main
from tests.harness.content import digest_of
from tests.harness.images import make_image
from tests.harness.import_rig import Moved, OldRegistry, inodes
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.store_rig import open_store
from tests.harness.upstream import FakeUpstream


def imported(cache: CacheServer, source: Path) -> Any:
    done = cache.run("import", "--json", str(source))
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_a_registrys_folder_is_served_at_once_and_nothing_is_fetched(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller, tmp_path: Path
) -> None:
    old = OldRegistry(tmp_path / "old")
    image = old.image()
    make_image(upstream, layers=2, layer_size=1024)
    assert puller.head("/v2/").status == 200

    told = imported(cache, old.folder)

    assert (told["version"], told["ok"], told["source"]["kind"]) == (1, True, "distribution")
    assert (told["linked"]["blobs"], told["copied"]["bytes"]) == (4, 0)
    assert inodes(cache.root) == inodes(old.folder)
    answer = puller.manifest("1")
    assert (answer.body, answer.headers["X-Cache"]) == (image.manifest, "revalidated")
    for digest in image.blobs:
        blob = puller.blob(digest)
        assert (digest_of(blob.body), blob.headers["X-Cache"]) == (digest, "hit")
    assert upstream.requests("GET", "/blobs/") == upstream.requests("HEAD", "/blobs/") == []
    assert upstream.counted_pulls == 0


def test_an_export_moves_in_elsewhere(
    upstream: FakeUpstream, cache: CacheServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = make_image(upstream, "team/app")
    archive = tmp_path / "images.tar"
    done = cache.run("export", "--platform", "all", "team/app:1", "--to", str(archive))
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", str(tmp_path / "elsewhere"))

    assert main(["import", "--config", str(cache.config_file), str(archive)]) == 0

    moved = Moved(open_store(tmp_path / "elsewhere"))
    assert moved.holds(image, upstream=upstream.address)
