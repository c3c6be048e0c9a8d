"""What becomes of a fault: damaged bytes lose all their names and are kept for a while, and the next pull is right."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Tag
from registry_cache.store import eviction, quarantine
from registry_cache.store.audit.fault import Fault
from registry_cache.store.audit.repair import BUSY, DONE, Repairs
from registry_cache.store.audit.walk import AuditWalk
from tests.harness.cleanup_rig import DAY, NOW, Shelf, cut, flip, killed_at
from tests.harness.store_rig import APP, HUB, HUB_APP, HUB_OTHER, OTHER, fail_at


def repair(shelf: Shelf, now: float = NOW) -> list[tuple[str, str]]:
    """Look and repair; return (kind, outcome) of every fault."""
    outcomes: list[tuple[str, str]] = []
    repairs = Repairs(shelf.layout, now)

    def found(fault: Fault) -> None:
        outcomes.append((fault.kind, repairs.repair(fault)))

    AuditWalk(shelf.layout, found).run()
    return outcomes


def kept(shelf: Shelf) -> list[Path]:
    return [path for path in shelf.root.glob("quarantine/*/*") if path.suffix != ".json"]


def test_flipped_bytes_lose_all_their_names_and_are_kept(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer", APP, OTHER)
    flip(shelf.layout.blob(layer))
    assert repair(shelf) == [("flipped", DONE)]
    assert shelf.store.files("blobs") == shelf.store.files("repositories") == shelf.store.files("locks") == set()
    [path] = kept(shelf)
    assert Digest.of(path.read_bytes()) != layer
    told = json.loads(Path(f"{path}.json").read_bytes())
    assert (told["digest"], told["more"]) == (str(layer), 0)
    assert told["why"].startswith("flipped: hashes to sha256:")
    assert sorted(told["names"]) == sorted(
        os.path.relpath(name, shelf.root)
        for name in (
            shelf.layout.blob(layer),
            *(shelf.layout.membership(FullName(HUB, repository), layer) for repository in (APP, OTHER)),
        )
    )
    shelf.layer(b"layer")
    assert shelf.store.read(layer) == b"layer"
    assert repair(shelf) == []


def test_a_damaged_manifest_is_not_known_any_more(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer")
    image = shelf.image(layer, tag="1")
    shelf.image(layer, repository=OTHER)
    cut(shelf.layout.blob(image))
    assert repair(shelf) == [("size", DONE)]
    assert [name for name in shelf.store.files("repositories") if "_manifests" in name] == []
    assert shelf.store.read(layer) == b"layer"
    assert shelf.store.records.tag(HUB_APP, Tag("1"))
    shelf.image(layer)
    assert shelf.store.records.manifest(HUB_APP, image)


def test_a_good_blob_stays_where_another_file_of_its_digest_is_damaged(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer", APP, OTHER)
    os.unlink(shelf.layout.blob(layer))
    shelf.store.put(b"layer")
    flip(shelf.layout.membership(HUB_APP, layer))
    assert repair(shelf) == [("flipped", DONE)]
    assert shelf.has(layer) == [True]
    assert shelf.store.files("repositories") == set()
    assert len(kept(shelf)) == 1


def test_dead_names_and_torn_records_go(shelf: Shelf) -> None:
    gone, image = shelf.layer(b"gone"), shelf.image(tag="1")
    name = shelf.layout.membership(HUB_APP, gone)
    os.unlink(name)
    os.symlink(shelf.layout.blob(gone), name)
    os.unlink(shelf.layout.blob(gone))
    lost = shelf.image(gone)
    os.unlink(shelf.layout.manifest(HUB_APP, lost, "oci-manifest"))
    torn = [shelf.layout.tag(HUB_APP, Tag("1")), shelf.layout.manifest(HUB_APP, image, "json")]
    for path in torn:
        Path(path).write_bytes(b"")
    assert sorted(repair(shelf)) == [("dangling", DONE), ("lost", DONE), ("torn", DONE), ("torn", DONE)]
    assert repair(shelf) == []
    assert kept(shelf) == []
    assert shelf.has(image) == [True]


def test_foreign_files_stay(shelf: Shelf) -> None:
    (shelf.root / "README").write_bytes(b"")
    [(kind, outcome)] = repair(shelf)
    assert kind == "foreign"
    assert "look at what it is" in outcome
    assert (shelf.root / "README").exists()


def test_bytes_that_may_not_be_read_may_be_right(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer")
    os.chmod(shelf.layout.blob(layer), 0)
    assert Repairs(shelf.layout, NOW).repair(Fault("permissions", shelf.layout.blob(layer), "", layer)) == DONE
    assert os.stat(shelf.layout.blob(layer)).st_mode & 0o777 == 0o440
    assert repair(shelf) == []


def test_what_is_busy_stays_for_the_next_time(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer")
    flip(shelf.layout.blob(layer))
    claim = shelf.store.partials.claim(layer)
    assert claim
    with claim:
        assert repair(shelf) == [("flipped", BUSY)]
        assert shelf.has(layer) == [True]
    assert repair(shelf) == [("flipped", DONE)]


def test_what_was_healed_meanwhile_stays(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer")
    flip(shelf.layout.blob(layer))
    found: list[Fault] = []
    AuditWalk(shelf.layout, found.append).run()
    for path in (shelf.layout.membership(HUB_APP, layer), shelf.layout.blob(layer)):
        os.unlink(path)
    shelf.layer(b"layer")
    assert Repairs(shelf.layout, NOW).repair(found[0]) == DONE
    assert shelf.store.read(layer) == b"layer"
    assert kept(shelf) == []


def test_two_at_once(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer", APP, OTHER)
    flip(shelf.layout.blob(layer))
    found: list[Fault] = []
    for _ in range(2):
        AuditWalk(shelf.layout, found.append).run()
    assert [Repairs(shelf.layout, NOW).repair(fault) for fault in found] == [DONE, DONE]
    assert len(kept(shelf)) == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EXDEV])
@pytest.mark.parametrize("name", ["mkdir", "rename"])
def test_where_nothing_can_be_kept_damaged_bytes_go_all_the_same(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    layer = shelf.layer(b"layer", APP, OTHER)
    flip(shelf.layout.blob(layer))
    fail_at(monkeypatch, name, 1, code, shelf.root)
    assert repair(shelf) == [("flipped", DONE)]
    assert kept(shelf) == []
    assert shelf.store.files("blobs") == shelf.store.files("repositories") == set()


def test_a_disk_that_takes_no_change_is_told(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    flip(shelf.layout.blob(shelf.layer(b"layer")))
    fail_at(monkeypatch, "rename", 1, errno.EROFS, shelf.root)
    assert repair(shelf) == [("flipped", "Read-only file system")]
    assert repair(shelf) == [("flipped", DONE)]


def damaged(root: Path) -> tuple[Shelf, list[Digest]]:
    shelf = Shelf(root)
    layer = shelf.layer(b"layer", APP, OTHER)
    image = shelf.image(layer, tag="1")
    assert shelf.store.blobs.grant(HUB_OTHER, image)
    for digest in (layer, image):
        flip(shelf.layout.blob(digest))
    Path(shelf.layout.tag(HUB_APP, Tag("1"))).write_bytes(b"")
    return shelf, [layer, image]


def test_killed_anywhere_the_next_pass_finishes(tmp_path: Path) -> None:
    number = steps = 0
    while number <= steps:
        shelf, digests = damaged(tmp_path / str(number))
        with killed_at(number, shelf.root) as count:
            repair(shelf)
        steps = max(steps, count[0] if number == 0 else 0)

        repair(shelf)
        assert repair(shelf) == []
        assert not any(shelf.has(*digests))
        assert shelf.store.files("repositories") == set()
        shelf.image(shelf.layer(b"layer", APP, OTHER))
        assert repair(shelf) == []
        number += 1
    assert steps > 15


def test_the_quarantine_is_swept_after_a_week(shelf: Shelf) -> None:
    flip(shelf.layout.blob(shelf.layer(b"layer")))
    repair(shelf)
    size = quarantine.size(shelf.layout)
    assert size > 5
    stored = shelf.clean(now=NOW + 7 * DAY).stored
    assert (stored, quarantine.size(shelf.layout)) == (size, size)
    (shelf.root / "quarantine" / "README").mkdir()
    assert list(eviction.sweep(shelf.layout, int(NOW + 9 * DAY) * 10**9, lambda: None))
    assert [path.name for path in (shelf.root / "quarantine").iterdir()] == ["README"]
    assert shelf.clean().stored == 0
