"""An import may die at any change of the disk: nothing wrong is left, no name leads nowhere, and run again it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from registry_cache.oci.digest import Digest
from registry_cache.store.audit.fault import Fault
from registry_cache.store.audit.walk import AuditWalk
from tests.harness.content import Content
from tests.harness.images import make_image
from tests.harness.import_rig import Moved, OldRegistry, layout_files, packed, tar_of
from tests.harness.programs import succeed
from tests.harness.store_rig import APP, HUB, HUB_APP, LATEST, open_store
from tests.upkeep import import_crasher


@pytest.mark.parametrize("story", ["distribution", "archive"])
def test_at_any_step(tmp_path: Path, story: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old = OldRegistry(tmp_path / "old")
    image = old.image(tag="latest", layers=1, layer_size=3000)
    content = Content()
    make_image(content, tag="latest", layers=1, layer_size=3000)
    files = layout_files([(content, image, {"io.containerd.image.name": f"{HUB}/{APP}:latest"})])
    (old.folder / "archive").write_bytes(packed(tar_of(files)))
    command = [sys.executable, "-m", import_crasher.__name__, str(tmp_path), str(old.folder), story]
    count = int(succeed(command, seconds=120))
    assert count > 60
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)

    for number in range(1, count + 1):
        store = open_store(tmp_path / str(number))
        assert not store.wrong_blobs()
        tag = store.records.tag(HUB_APP, LATEST)
        assert tag is None or store.records.manifest(HUB_APP, Digest.parse(image.digest))
        # What a tag says was never asked for, whenever it was written.
        assert tag is None or tag.checked_at.timestamp() == 0

        moved = Moved(store)
        if story == "archive":
            moved.archive((old.folder / "archive").read_bytes())
        else:
            moved.distribution(old)

        assert moved.told() == []
        assert moved.holds(image, "latest")
        assert not store.wrong_blobs()
        faults: list[Fault] = []
        AuditWalk(store.layout, faults.append).run()
        assert faults == []
