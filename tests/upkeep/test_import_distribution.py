"""A registry's storage folder moves in: everything, at no byte, and whatever state it is in."""

from __future__ import annotations

import json
import os
import stat
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry_cache.errors import StoreFull
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Tag
from registry_cache.policy.eviction import Bounds
from registry_cache.store.audit.walk import AuditWalk
from registry_cache.store.interchange.distribution import DistributionFolder
from registry_cache.store.interchange.ingest import Arrival
from registry_cache.store.layout import Layout
from registry_cache.store.record_format import TagRecord
from registry_cache.upkeep.cleanup import Cleanup
from registry_cache.upkeep.import_session import NEVER
from tests.harness.cleanup_rig import snapshot
from tests.harness.import_rig import Moved, OldRegistry, inodes
from tests.harness.store_rig import APP, HUB_APP, fail_at, open_store

TAG = Tag.parse("1")


@pytest.fixture
def old(tmp_path: Path) -> OldRegistry:
    return OldRegistry(tmp_path / "old")


@pytest.fixture
def moved(tmp_path: Path) -> Moved:
    return Moved(open_store(tmp_path / "store"))


def test_everything_moves_in_and_no_byte_is_copied(old: OldRegistry, moved: Moved) -> None:
    images = [old.image(f"team/app{number}", seed=number % 2) for number in range(3)]
    before = inodes(old.folder)

    result = moved.distribution(old)

    assert all(map(moved.holds, images))
    assert (result.damaged, result.repositories, result.manifests, result.tags) == (0, 3, 3, 3)
    assert moved.counts() == [len(before), 0, 0]
    assert inodes(Path(moved.store.layout.root)) == before
    assert moved.store.wrong_blobs() == []
    faults: list[object] = []
    AuditWalk(moved.store.layout, faults.append).run()
    assert faults == []


def test_linked_blobs_are_sealed_and_used_now(old: OldRegistry, moved: Moved) -> None:
    image = old.image()
    path = old.data(image.layers[0])
    os.utime(path, (1, 1))

    moved.distribution(old)

    found = path.stat()
    assert stat.S_IMODE(found.st_mode) == 0o440
    assert found.st_mtime > time.time() - 600
    assert os.getxattr(path, "user.registry_cache.size") == b"%d" % found.st_size


def test_an_import_run_again_reads_nothing_and_changes_nothing(old: OldRegistry, moved: Moved) -> None:
    old.image()
    moved.distribution(old)
    before = snapshot(Path(moved.store.layout.root))

    result = moved.distribution(old)

    assert moved.counts() == [0, 0, 4]
    assert (result.tags, result.damaged) == (1, 0)
    assert snapshot(Path(moved.store.layout.root)) == before


@pytest.mark.parametrize("below", ["", "docker", "docker/registry", "docker/registry/v2"])
def test_the_folder_by_any_name(old: OldRegistry, below: str) -> None:
    old.image()
    source = DistributionFolder.find(old.folder / below)
    assert source
    assert list(source.repositories()) == [APP]


def test_copies_where_it_must(old: OldRegistry, moved: Moved) -> None:
    image = old.image()
    moved.distribution(old, may_link=False)
    assert moved.counts() == [0, 4, 0]
    assert moved.holds(image)
    assert not inodes(old.folder) & inodes(Path(moved.store.layout.root))
    assert stat.S_IMODE(old.data(image.config).stat().st_mode) & 0o200


def test_a_tag_was_never_asked_for_and_means_what_it_meant(old: OldRegistry, moved: Moved) -> None:
    image = old.image()
    os.utime(old.root / "repositories/library/app/_manifests/tags/1/current/link", (1_700_000_000, 1_700_000_000))

    moved.distribution(old)

    record = moved.store.records.tag(HUB_APP, TAG)
    assert record
    assert (str(record.digest), record.checked_at) == (image.digest, NEVER)
    assert record.changed_at == datetime.fromtimestamp(1_700_000_000, UTC)
    assert (record.media_type, record.size) == (image.media_type, len(image.manifest))


@pytest.mark.parametrize("newer", [True, False])
def test_a_tag_that_is_known_better_stays(old: OldRegistry, moved: Moved, newer: bool) -> None:
    image, other = old.image(tag="1"), old.image(tag="2", seed=1)
    moved.distribution(old)
    asked = datetime.fromtimestamp(time.time() + (600 if newer else -600), UTC)
    record = TagRecord(Digest.parse(other.digest), other.media_type, len(other.manifest), asked, asked)
    moved.store.records.put_tag(HUB_APP, TAG, record)

    result = moved.distribution(old)

    found = moved.store.records.tag(HUB_APP, TAG)
    assert found
    assert str(found.digest) == (other.digest if newer else image.digest)
    assert result.newer == newer
    assert found.previous == (None if newer else Digest.parse(other.digest))


def test_damaged_blobs_are_named_and_left_out_alone(old: OldRegistry, moved: Moved) -> None:
    damaged, whole = old.image("team/damaged"), old.image("team/whole", seed=1)
    old.data(damaged.layers[0]).write_bytes(b"flipped")

    result = moved.distribution(old)

    assert result.damaged == 1
    assert moved.told()[0].startswith(f"{damaged.layers[0]}: its bytes are those of sha256:")
    assert moved.holds(whole)
    # Its manifest is right: the layer is fetched when somebody asks for it.
    assert result.manifests == 2
    assert moved.store.wrong_blobs() == []
    assert not os.path.exists(moved.store.layout.blob(Digest.parse(damaged.layers[0])))
    assert not moved.store.files("blobs") & {path for path in moved.store.files("blobs") if "/." in path}


def test_what_a_proxy_has_dropped_is_no_damage(old: OldRegistry, moved: Moved) -> None:
    image, gone = old.image(), old.image("team/gone", seed=1)
    old.data(image.layers[0]).unlink()
    old.data(gone.digest).unlink()

    result = moved.distribution(old)

    assert (result.damaged, result.absent) == (0, 3)  # two blobs, and a tag without its manifest
    assert (result.manifests, result.tags) == (1, 1)


def test_nonsense_is_told_and_never_followed(old: OldRegistry, moved: Moved, tmp_path: Path) -> None:
    image = old.image()
    secret = tmp_path / "secret"
    secret.write_text("secret")
    repository = old.root / "repositories/library/app"
    (repository / f"_layers/sha256/{'a' * 64}").mkdir()
    (repository / f"_layers/sha256/{'a' * 64}/link").write_text("sha256:../../../../secret")
    old.link("library/app", f"_layers/sha256/{'b' * 64}", image.config)
    old.link("library/app", f"_layers/sha256/{'c' * 64}", "")
    old.link("library/app", "_manifests/tags/no..:tag/current", image.digest)
    old.link("library/Upper Case", f"_layers/sha256/{'d' * 64}", "sha256:" + "d" * 64)
    (repository / "_uploads/123").mkdir(parents=True)
    (old.folder / "scheduler-state.json").write_text("{")
    (old.root / "repositories/loop").symlink_to(old.root / "repositories")
    layer = old.layer("library/app", "sha256:" + "e" * 64)
    old.data("sha256:" + "e" * 64).parent.mkdir(parents=True)
    old.data("sha256:" + "e" * 64).symlink_to("/dev/zero")

    result = moved.distribution(old)

    assert moved.holds(image)
    told = "\n".join(moved.told())
    for words in ("holds no digest", "it leads to", "it is empty", "no tag", "is not a repository name", "not a file"):
        assert words in told
    assert result.damaged == 6
    assert layer.exists()


def test_a_blob_that_is_a_symbolic_link_is_copied(old: OldRegistry, moved: Moved) -> None:
    image = old.image()
    path = old.data(image.layers[0])
    path.rename(elsewhere := old.folder / "elsewhere")
    path.symlink_to(elsewhere)
    moved.distribution(old)
    assert moved.counts() == [3, 1, 0]
    assert moved.holds(image)


@pytest.mark.parametrize("data", [b'{"schemaVersion":1,"fsLayers":[]}', b"", b"\x1f\x8b not json"])
def test_what_is_no_manifest_of_today_is_told(old: OldRegistry, moved: Moved, data: bytes) -> None:
    old.manifest("library/app", data, tag="old")
    result = moved.distribution(old)
    assert (result.damaged, result.tags, result.absent) == (1, 0, 1)
    assert "not a manifest that today's clients accept" in moved.told()[0]


def test_an_index_and_what_it_names(old: OldRegistry, moved: Moved) -> None:
    image = old.image(tag="one")
    entry = {"mediaType": image.media_type, "digest": image.digest, "size": len(image.manifest)}
    index = old.manifest("library/app", json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode(), tag="1")

    assert moved.distribution(old).tags == 2

    found = moved.store.records.manifest(HUB_APP, Digest.parse(index))
    assert found
    assert found.media_type == "application/vnd.oci.image.index.v1+json"


def test_a_dry_run_counts_and_changes_nothing(old: OldRegistry, moved: Moved, tmp_path: Path) -> None:
    image = old.image()
    moved.store.put(old.data(image.config).read_bytes())
    os.utime(moved.store.layout.blob(Digest.parse(image.config)), (1, 1))
    before = snapshot(tmp_path)

    result = moved.distribution(old, dry_run=True)

    assert snapshot(tmp_path) == before
    assert moved.counts() == [3, 0, 1]
    assert (result.repositories, result.manifests, result.tags) == (1, 1, 1)


def test_a_full_disk_ends_it_and_the_next_run_goes_on(
    old: OldRegistry, moved: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = old.image()
    with monkeypatch.context() as patch:
        calls = fail_at(patch, "write", 3, 28, Path(moved.store.layout.root))
        with pytest.raises(StoreFull):
            moved.distribution(old, may_link=False)
    assert calls() == 3
    assert moved.store.wrong_blobs() == []
    moved.distribution(old)
    assert moved.holds(image)
    assert moved.counts() == [2, 0, 2]


def test_a_cleanup_right_after_it_evicts_nothing(old: OldRegistry, moved: Moved) -> None:
    image = old.image()
    for path in old.root.glob("blobs/*/*/*/data"):
        os.utime(path, (1, 1))
    moved.distribution(old)

    result = Cleanup(Layout(Path(moved.store.layout.root)), Bounds(timedelta(days=7)), time.time()).run()

    assert result
    assert (result.evicted, result.names) == (0, 0)
    assert moved.holds(image)
    assert moved.result.tallies[Arrival.LINKED].bytes == result.stored


def test_a_file_among_tags_is_none(old: OldRegistry, moved: Moved) -> None:
    image = old.image()
    [tags] = old.folder.rglob("_manifests/tags")
    (tags / "notes").write_text("somebody's")
    assert moved.distribution(old).tags == 1
    assert moved.holds(image)
