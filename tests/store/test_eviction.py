"""What is removed, in which order, and what stays because somebody is at it."""

from __future__ import annotations

import os
from pathlib import Path

from registry_cache.errors import UpstreamTimeout
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Tag
from registry_cache.policy.eviction import SECOND, Mark
from registry_cache.store import eviction, locks
from registry_cache.store.audit.owners import owners
from registry_cache.store.download_status import failed_status
from registry_cache.store.last_use import StoredBlob, UseSpreader
from tests.harness.cleanup_rig import DAY, HOUR, NOW, Shelf
from tests.harness.store_rig import APP, HUB, HUB_APP, LATEST, OTHER

EVERYTHING = Mark(int(NOW) * SECOND)


def before(ago: float) -> Mark:
    return Mark(int(NOW - ago) * SECOND)


def names(shelf: Shelf, mark: Mark) -> list[str]:
    removed = eviction.evict_names(shelf.layout, mark.covers, mark.moment, lambda: None)
    return [os.path.relpath(path, shelf.layout.repositories) for path in removed]


def sweep(shelf: Shelf, ago: float = 0.0) -> list[str]:
    removed = eviction.sweep(shelf.layout, int(NOW - ago) * SECOND, lambda: None)
    return [os.path.relpath(path, shelf.root) for path in removed]


def evict(shelf: Shelf, digest: Digest, mark: Mark = EVERYTHING) -> bool:
    [blob] = [each for each in UseSpreader(shelf.layout).blobs() if each.digest == digest]
    return eviction.evict_blob(shelf.layout, blob, mark.covers)


def aged(path: Path | str, seconds: float) -> None:
    os.utime(path, (NOW - seconds, NOW - seconds))


def test_what_names_something_goes_before_it(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer", ago=DAY)
    image = shelf.image(layer, ago=DAY)
    index = shelf.index(image, tag="latest", ago=DAY)
    folder = f"{HUB}/{APP}"
    assert names(shelf, before(2 * DAY)) == []
    assert names(shelf, before(DAY)) == [
        *(f"{folder}/_tags/latest.json", f"{folder}/_manifests/sha256/{index.hex}.json"),
        *(f"{folder}/_manifests/sha256/{index.hex}.oci-index", f"{folder}/_manifests/sha256/{image.hex}.json"),
        *(f"{folder}/_manifests/sha256/{image.hex}.oci-manifest", f"{folder}/_blobs/sha256/{layer.hex}"),
    ]


def test_a_sha512_goes_like_any_other(shelf: Shelf) -> None:
    digest = shelf.layer(b"layer", ago=DAY, algorithm="sha512")
    assert names(shelf, before(0)) == [f"{HUB}/{APP}/_blobs/sha512/{digest.hex}"]
    assert evict(shelf, digest)
    assert shelf.has(digest) == [False]


def test_what_is_manifest_and_member_goes_with_all_its_names(shelf: Shelf) -> None:
    image = shelf.image(ago=DAY)
    for repository in (APP, OTHER):
        assert shelf.store.blobs.grant(FullName(HUB, repository), image)
    shelf.used(image, DAY)
    assert len(names(shelf, before(DAY))) == 4
    assert os.stat(shelf.layout.blob(image)).st_nlink == 1
    assert evict(shelf, image)


def test_a_record_without_its_manifest_goes(shelf: Shelf) -> None:
    image = shelf.image()
    os.unlink(shelf.layout.manifest(HUB_APP, image, "oci-manifest"))
    assert names(shelf, before(DAY)) == [f"{HUB}/{APP}/_manifests/sha256/{image.hex}.json"]


def test_links_that_stand_in_for_names(shelf: Shelf) -> None:
    used, old, gone = (shelf.layer(data, ago=ago) for data, ago in ((b"1", 0.0), (b"2", DAY), (b"3", 0.0)))
    for digest in (used, old, gone):
        name = shelf.layout.membership(HUB_APP, digest)
        os.unlink(name)
        os.symlink(shelf.layout.blob(digest), name)
    os.unlink(shelf.layout.blob(gone))
    assert sorted(names(shelf, before(HOUR))) == sorted(f"{HUB}/{APP}/_blobs/sha256/{each.hex}" for each in (old, gone))
    assert evict(shelf, old)
    assert not evict(shelf, used, before(HOUR))


def test_foreign_files_are_left_alone(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer")
    for folder in (shelf.layout.blobs, f"{shelf.layout.blobs}/sha256", f"{shelf.layout.blobs}/sha256/{layer.hex[:2]}"):
        Path(folder, "README").write_bytes(b"")
    Path(shelf.layout.partials, "sha256", "README").write_bytes(b"")
    aged(Path(shelf.layout.partials, "sha256", "README"), 99 * DAY)
    assert [each.digest for each in UseSpreader(shelf.layout).blobs()] == [layer]
    assert sweep(shelf) == []


def test_a_blob_whose_lock_is_held_stays(shelf: Shelf) -> None:
    digest = shelf.layer(b"layer", ago=DAY)
    claim = shelf.store.partials.claim(digest)
    assert claim
    with claim:
        assert not evict(shelf, digest)
    assert evict(shelf, digest)
    assert shelf.store.files("locks") == set()


def test_a_blob_used_since_the_plan_stays(shelf: Shelf) -> None:
    digest = shelf.layer(b"layer", ago=DAY)
    planned = StoredBlob(digest, 5, int(NOW - DAY) * SECOND)
    shelf.used(digest, 0)
    assert not eviction.evict_blob(shelf.layout, planned, before(HOUR).covers)
    os.unlink(shelf.layout.blob(digest))
    assert not eviction.evict_blob(shelf.layout, planned, before(HOUR).covers)
    assert shelf.store.files("locks") == set()


def test_a_blob_that_is_linked_from_elsewhere_leaves_the_store(shelf: Shelf, tmp_path: Path) -> None:
    digest = shelf.layer(b"layer", ago=DAY)
    os.link(shelf.layout.blob(digest), tmp_path / "a-backup")
    assert evict(shelf, digest)


def test_a_tag_goes_when_its_manifest_is_gone_and_it_is_old(shelf: Shelf) -> None:
    shelf.used(shelf.image(tag="kept", ago=9 * DAY), DAY)
    gone = shelf.image(shelf.layer(b"1"), tag="gone", ago=9 * DAY)
    young = shelf.image(shelf.layer(b"2"), tag="young", ago=DAY)
    for digest in (gone, young):
        os.unlink(shelf.layout.manifest(HUB_APP, digest, "json"))
    for name, data in (("torn", b'{"digest": 5}'), ("deep", b"[" * 100_000)):
        torn = Path(shelf.layout.tag(HUB_APP, Tag.parse(name)))
        torn.write_bytes(data)
        aged(torn, 9 * DAY)
    tags = [os.path.basename(name) for name in names(shelf, before(7 * DAY)) if "/_tags/" in name]
    assert sorted(tags) == ["deep.json", "gone.json", "torn.json"]
    assert shelf.store.records.tags(HUB_APP) == ["kept", "young"]


def test_an_answer_about_referrers_goes_when_it_is_old(shelf: Shelf) -> None:
    for data, ago in ((b"1", 9 * DAY), (b"2", DAY)):
        digest = Digest.of(data)
        shelf.store.records.put_referrers(HUB_APP, digest, b"{}")
        aged(shelf.layout.referrers(HUB_APP, digest), ago)
    assert names(shelf, before(7 * DAY)) == [f"{HUB}/{APP}/_referrers/sha256/{Digest.of(b'1').hex}.json"]


def test_half_written_files_go_after_an_hour(shelf: Shelf) -> None:
    shelf.image(shelf.layer(b"layer"), tag="1")
    tags = os.path.dirname(shelf.layout.tag(HUB_APP, LATEST))
    folders = [shelf.layout.root, tags, f"{shelf.layout.partials}/sha256"]
    folders += [entry.path for entry in os.scandir(f"{shelf.layout.blobs}/sha256")]
    for folder in folders:
        for name, ago in ((".old", 2 * HOUR), (".young", HOUR / 2)):
            Path(folder, name).write_bytes(b"half")
            aged(Path(folder, name), ago)
    kept = shelf.store.files()
    assert sorted(sweep(shelf)) == sorted(os.path.relpath(f"{folder}/.old", shelf.root) for folder in folders)
    assert kept - shelf.store.files() == {os.path.relpath(f"{folder}/.old", shelf.root) for folder in folders}


def test_an_interrupted_download_goes_after_a_day(shelf: Shelf) -> None:
    digest = Digest.of(b"whole")
    claim = shelf.store.partials.claim(digest)
    assert claim
    with claim:
        with claim.partial() as partial:
            partial.append(b"who")
        claim.publish(failed_status(HUB_APP, UpstreamTimeout("silent")))
        partial_path, status = shelf.layout.partial(digest), shelf.layout.status(digest)
        aged(partial_path, 2 * DAY)
        aged(status, DAY / 2)
        assert sweep(shelf) == []  # it was gone on with half a day ago
        aged(status, 2 * DAY)
        assert sweep(shelf) == []  # it is being gone on with
    assert sweep(shelf) == [os.path.relpath(path, shelf.root) for path in (partial_path, status)]


def test_a_failure_without_bytes_goes_after_an_hour(shelf: Shelf) -> None:
    digest = Digest.of(b"whole")
    claim = shelf.store.partials.claim(digest)
    assert claim
    with claim:
        claim.publish(failed_status(HUB_APP, UpstreamTimeout("silent")))
    aged(shelf.layout.status(digest), HOUR / 2)
    assert sweep(shelf) == []
    aged(shelf.layout.status(digest), 2 * HOUR)
    assert sweep(shelf) == [os.path.relpath(shelf.layout.status(digest), shelf.root)]


def test_locks_that_nobody_holds_go_after_an_hour(shelf: Shelf) -> None:
    held, old, young = (shelf.layout.flight(name) for name in ("held", "old", "young"))
    for path in (held, old, young):
        Path(path).write_bytes(b"")
        aged(path, HOUR / 2 if path == young else 2 * HOUR)
    with locks.LockFile(held) as lock:
        assert lock.acquire()
        assert sweep(shelf) == [os.path.relpath(old, shelf.root)]


def test_empty_folders_go_when_they_are_old(shelf: Shelf) -> None:
    deep = shelf.root / "repositories" / HUB / "a" / "b" / "_blobs" / "sha256"
    deep.mkdir(parents=True)
    assert sweep(shelf, ago=1000) == []
    for folder in (deep, *list(deep.parents)[:4]):
        aged(folder, 2 * HOUR)
    assert sweep(shelf) == [
        f"repositories/{HUB}/{name}" for name in ("a/b/_blobs/sha256", "a/b/_blobs", "a/b", "a")
    ] + [f"repositories/{HUB}"]
    assert (shelf.root / "repositories").exists()


def test_who_has_it(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer", APP, OTHER)
    image = shelf.image(layer)
    index = shelf.index(image)
    orphan = shelf.store.put(b"orphan")
    assert owners(shelf.layout, {layer, image, index, orphan}) == {
        layer: f"blob of {HUB}/{APP} and 1 more",
        image: f"manifest of {HUB}/{APP}",
        index: f"index of {HUB}/{APP}",
    }
