"""A process may die at any change of the disk: afterwards the blob is there and right, or the next claim brings it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from registry_cache.oci.digest import Digest
from tests.pull import crasher
from tests.pull.crasher import DATA, MANIFEST
from tests.pull.rig import Script, drain, transfer
from tests.store.rig import APP, HUB, LATEST, Store, obey_modes, open_store

DIGEST = Digest.of(DATA)


def crashed(root: Path, story: str, at_least: int) -> list[Store]:
    """The stores that a process left which died at its first, second, … change; the last one lived."""
    command = [sys.executable, "-m", crasher.__name__, str(root), story]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > at_least
    return [open_store(root / str(number)) for number in range(1, int(done.stdout) + 1)]


@pytest.mark.parametrize("story", ["download", "second_try"])
def test_of_a_download(tmp_path: Path, story: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = crashed(tmp_path, story, at_least=20)
    obey_modes(monkeypatch)
    resumed = 0
    for store in stores:
        assert not store.wrong_blobs()
        whole = store.blobs.open_any(DIGEST)
        partial = store.partials.open(DIGEST)
        left = partial.size() if partial else 0
        script = Script(DATA)
        feed = transfer(store, script)

        assert feed.committed
        assert drain(feed) == DATA
        # Nothing that was here came again, but where it was wrong.
        good = DATA[:left] == (partial.read_at(0, left) if partial else b"")
        assert script.starts == ([] if whole else [left] if good else [left, 0])
        resumed += 0 < left < len(DATA)
        assert store.files("locks") == set()
        # Litter for the cleanup: a record half written, the status of a blob that is here.
        litter = {path for path in store.files("partial") if "/." in path or (whole and path.endswith(".json"))}
        assert store.files("partial") == litter
        if not whole:
            assert store.read(DIGEST) == DATA
        elif store.read(DIGEST) is None:
            # It died between the commit and the membership: upstream must be asked whether this repository has it.
            assert store.blobs.grant(HUB, APP, DIGEST)
            assert store.read(DIGEST) == DATA
        assert not store.wrong_blobs()
    assert resumed > 3
    assert stores[-1].read(DIGEST) == DATA


def test_of_keeping_a_manifest_and_its_tag(tmp_path: Path) -> None:
    digest = Digest.of(MANIFEST)
    for store in crashed(tmp_path, "manifest", at_least=15):
        assert not store.wrong_blobs()
        found = store.records.manifest(HUB, APP, digest)
        assert found is None or found.data == MANIFEST
        tag = store.records.tag(HUB, APP, LATEST)
        assert tag is None or (tag.digest == digest and found)
        crasher.manifest(store)
        again = store.records.manifest(HUB, APP, digest)
        assert again is not None
        assert again.data == MANIFEST
        assert store.records.tags(HUB, APP) == ["latest"]
