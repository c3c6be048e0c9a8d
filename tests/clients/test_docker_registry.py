"""CNCF Distribution, which most mirrors run today, as a cache of the fake upstream: its storage is imported."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.harness.components import require
from tests.harness.content import digest_of
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import make_index
from tests.harness.import_rig import inodes
from tests.harness.programs import STOP_SECONDS, environment
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

LISTENING = re.compile(r"listening on (127\.0\.0\.1:\d+)")


@contextmanager
def docker_registry(folder: Path, upstream: str) -> Iterator[str]:
    """Run CNCF Distribution as a pull-through cache; its URL."""
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
        "http": {"addr": "127.0.0.1:0"},
        "proxy": {"remoteurl": upstream},
    }
    folder.mkdir()
    (folder / "config.yml").write_text(yaml.safe_dump(settings))
    log = folder / "log"
    command = [
        require("setpriv"),
        "--pdeathsig",
        "TERM",
        require("docker-registry"),
        "serve",
        str(folder / "config.yml"),
    ]
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment(folder), stdout=file, stderr=file)
    try:
        eventually(lambda: LISTENING.search(log.read_text()) or process.poll() is not None)
        found = LISTENING.search(log.read_text())
        assert found, log.read_text()
        yield f"http://{found[1]}"
    finally:
        process.kill()
        process.wait(STOP_SECONDS)


def test_its_storage_folder_moves_in(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller, tmp_path: Path
) -> None:
    index = make_index(upstream, kind="docker", layers=2)
    image = index.images[0]
    storage = tmp_path / "old/storage"
    with docker_registry(tmp_path / "old", upstream.url) as url:
        old = make_puller(url)
        assert digest_of(old.manifest("1").body) == index.digest
        assert old.manifest(image.digest).body == image.manifest
        assert [digest_of(old.blob(blob).body) for blob in image.blobs] == list(image.blobs)
        # It stores after it has answered.
        names = {f"library/app/_layers/{blob.replace(':', '/')}/link" for blob in image.blobs}
        repositories = storage / "docker/registry/v2/repositories"
        eventually(lambda: all((repositories / name).exists() for name in names))
    upstream.forget()
    cache = make_cache()

    done = cache.run("import", "--json", str(storage))

    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["repositories"], told["tags"], told["manifests"], told["copied"]["blobs"]) == (1, 1, 2, 0)
    assert inodes(cache.root) <= inodes(storage)
    puller = make_puller(cache.url)
    assert puller.manifest("1").headers["X-Cache"] == "revalidated"
    assert puller.manifest(image.digest).headers["X-Cache"] == "hit"
    assert {puller.blob(blob).headers["X-Cache"] for blob in image.blobs} == {"hit"}
    assert upstream.requests("GET", "/blobs/") == []
    assert upstream.counted_pulls == 0
    upstream.stop()
    assert puller.manifest("1").headers["X-Cache"] == "stale"
