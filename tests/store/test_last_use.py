"""When something was last used: by whoever served it, and by the manifests that need it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from registry_cache.store.disk import TOUCH_SECONDS, last_use
from registry_cache.store.last_use import UseSpreader
from registry_cache.store.repositories import repositories
from tests.harness.cleanup_rig import DAY, Shelf, refusing, snapshot
from tests.harness.store_rig import APP, HUB_APP, HUB_OTHER, OTHER


def test_the_newer_of_both_times(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for times in ((1, 2), (2, 1)):
        os.utime(file, ns=times)
        assert last_use(file.stat()) == 2


def test_serving_a_manifest_is_use_at_most_once_a_minute(shelf: Shelf) -> None:
    digest = shelf.image()
    path = shelf.layout.blob(digest)
    recent = time.time() - TOUCH_SECONDS / 2
    for used, touched in ((recent, False), (recent - TOUCH_SECONDS, True)):
        os.utime(path, (used, used))
        assert shelf.store.records.manifest(HUB_APP, digest)
        assert (os.stat(path).st_mtime > used + 1) is touched


def test_a_manifest_on_a_read_only_disk_is_served(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = shelf.image(ago=30 * DAY)
    refusing(monkeypatch, "utime")
    assert shelf.store.records.manifest(HUB_APP, digest)


def test_bringing_a_manifest_again_is_use(shelf: Shelf) -> None:
    digest = shelf.image(ago=30 * DAY)
    shelf.image(repository=OTHER)
    found = shelf.store.records.manifest(HUB_OTHER, digest)
    assert found
    shelf.used(digest, 30 * DAY)
    shelf.store.blobs.add(digest, found.data)
    assert shelf.ago(digest) < DAY


def test_a_manifests_use_is_its_childrens(shelf: Shelf) -> None:
    old, fresh = shelf.layer(b"old", ago=9 * DAY), shelf.layer(b"fresh", ago=0)
    image = shelf.image(old, fresh, ago=1 * DAY)
    UseSpreader(shelf.layout).run()
    assert [shelf.ago(each) for each in (image, old, fresh)] == [DAY, DAY, 0]


def test_a_new_manifest_of_old_layers_hands_on_its_use(shelf: Shelf) -> None:
    """Its record is younger than its bytes, which tells nothing of what was handed on."""
    layer = shelf.layer(b"layer", ago=9 * DAY)
    shelf.image(layer)
    shelf.image(layer, repository=OTHER)
    UseSpreader(shelf.layout).run()
    assert shelf.ago(layer) == 0


def test_an_index_hands_on_through_images_of_other_repositories(shelf: Shelf) -> None:
    for here, there in ((APP, OTHER), (OTHER, APP)):
        layer = shelf.layer(f"of {there}".encode(), there, ago=9 * DAY)
        image = shelf.image(layer, repository=there, ago=9 * DAY)
        inner = shelf.index(image, repository=there, ago=9 * DAY)
        shelf.index(inner, repository=here, ago=DAY)
        UseSpreader(shelf.layout).run()
        assert [shelf.ago(each) for each in (inner, image, layer)] == [DAY] * 3


def test_what_was_handed_on_is_not_read_again(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.index(shelf.image(shelf.layer(b"layer")))
    UseSpreader(shelf.layout).run()
    before = snapshot(shelf.root)
    read: list[str] = []
    monkeypatch.setattr("registry_cache.store.disk.read_whole", lambda path: read.append(path))
    UseSpreader(shelf.layout).run()
    assert (read, snapshot(shelf.root)) == ([], before)


def test_without_writing_the_same_is_found(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer", OTHER, ago=9 * DAY)
    image = shelf.image(layer, repository=OTHER, ago=9 * DAY)
    shelf.index(image, ago=DAY)
    before = snapshot(shelf.root)
    dry, wet = UseSpreader(shelf.layout, dry_run=True), UseSpreader(shelf.layout)
    dry.run()
    assert snapshot(shelf.root) == before
    wet.run()
    assert {each.digest: each.used for each in dry.blobs()} == {each.digest: each.used for each in wet.blobs()}
    assert {each.digest for each in wet.blobs()} > {layer, image}


@pytest.mark.parametrize(
    "torn", [b"", b"{", b"[]", b'{"children": 5}', b'{"children": [["x", 1]]}', b"\xff", b"[" * 100_000]
)
def test_a_torn_record_and_a_missing_child_stop_nothing(shelf: Shelf, torn: bytes) -> None:
    broken, gone = shelf.image(shelf.layer(b"1")), shelf.layer(b"gone")
    kept = shelf.layer(b"kept", ago=9 * DAY)
    Path(shelf.layout.manifest(HUB_APP, broken, "json")).write_bytes(torn)
    shelf.image(gone, kept, ago=DAY)
    os.unlink(shelf.layout.blob(gone))
    UseSpreader(shelf.layout).run()
    assert shelf.ago(kept) == DAY


def test_a_manifest_with_a_use_in_the_future_goes_on_handing_it_on(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer", ago=9 * DAY)
    image = shelf.image(layer, ago=-300 * DAY)
    UseSpreader(shelf.layout).run()
    assert shelf.ago(layer) == -300 * DAY
    shelf.used(image, 0)  # the clock was put right, and it was served
    shelf.used(layer, 9 * DAY)
    UseSpreader(shelf.layout).run()
    assert shelf.ago(layer) == 0


def test_a_link_that_stands_in_for_a_name_is_followed(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer", ago=9 * DAY)
    image = shelf.image(layer, ago=DAY)
    name = shelf.layout.manifest(HUB_APP, image, "oci-manifest")
    os.unlink(name)
    os.symlink(shelf.layout.blob(image), name)
    UseSpreader(shelf.layout).run()
    assert shelf.ago(layer) == DAY


def test_repositories_within_repositories(shelf: Shelf) -> None:
    shelf.layer(b"layer", APP, type(APP).parse("library"), type(APP).parse("library/app/deep"))
    (shelf.root / "repositories" / "stray").write_bytes(b"")
    found = [os.path.relpath(folder.path, shelf.layout.repositories) for folder in repositories(shelf.layout)]
    assert found == ["docker.io/library", "docker.io/library/app", "docker.io/library/app/deep"]
