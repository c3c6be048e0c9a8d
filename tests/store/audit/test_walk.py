"""What a look at the store finds, what it takes for normal, and that it leaves no trace."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import parse_manifest
from registry_cache.oci.names import Tag
from registry_cache.store.audit import rehash
from registry_cache.store.audit.fault import Fault
from registry_cache.store.audit.walk import AuditCounts, AuditWalk
from registry_cache.store.piece_files import Pieces
from tests.harness.cleanup_rig import DAY, NOW, Shelf, cut, flip, refusing, snapshot
from tests.harness.schema_1 import signed
from tests.harness.store_rig import APP, HUB, HUB_APP, HUB_OTHER, OTHER, descriptors, fail_at


def look(shelf: Shelf, **options: Any) -> tuple[list[Fault], AuditCounts]:
    found: list[Fault] = []
    walk = AuditWalk(shelf.layout, found.append, **options)
    walk.run()
    return found, walk.seen


def kinds(shelf: Shelf) -> list[tuple[str, str]]:
    """What is wrong with which path, in order."""
    return sorted((each.kind, os.path.relpath(each.path, shelf.root)) for each in look(shelf)[0])


def fill(shelf: Shelf) -> tuple[Digest, Digest]:
    """A store with all that there can be and nothing wrong; an image and one of its layers."""
    layer = shelf.layer(b"layer" * 100, APP, OTHER)
    image = shelf.image(layer, shelf.layer(b"sha512", algorithm="sha512"), tag="1")
    shelf.index(image, Digest.of(b"another platform"), tag="latest")
    shelf.store.records.put_referrers(HUB_APP, image, b'{"manifests": []}')
    Path(shelf.layout.upstream_note(HUB)).parent.mkdir()
    Path(shelf.layout.upstream_note(HUB)).write_bytes(b"{}")
    shelf.layer(b"")
    claim = shelf.store.partials.claim(Digest.of(b"unfinished"))
    assert claim
    with claim, claim.partial() as unfinished:
        unfinished.append(b"unfin")
    Pieces(shelf.layout).make(HUB, Digest.of(b"read by ranges"), 100_000).write(0, b"rang" * 2048)
    (shelf.root / "lost+found").mkdir()
    (shelf.root / ".being-written").write_bytes(b"")
    return image, layer


def test_a_sound_store(shelf: Shelf) -> None:
    fill(shelf)
    before = snapshot(shelf.root)
    found, seen = look(shelf)
    assert found == []
    assert (seen.files, seen.names, seen.apart, seen.incomplete) == (5, 6, 0, 0)
    assert seen.bytes == sum(path.stat().st_size for path in shelf.root.glob("blobs/*/*/*"))
    assert snapshot(shelf.root) == before


def test_flipped_bits(shelf: Shelf) -> None:
    image, layer = fill(shelf)
    for digest in (image, layer):
        flip(shelf.layout.blob(digest))
    assert kinds(shelf) == sorted(("flipped", f"blobs/sha256/{each.hex[:2]}/{each.hex}") for each in (image, layer))


@pytest.mark.parametrize("size", [0, 1, 10_000])
def test_a_file_of_another_size_is_not_even_read(shelf: Shelf, size: int) -> None:
    layer = shelf.layer(b"layer" * 100)
    cut(shelf.layout.blob(layer), size)
    [fault], seen = look(shelf)
    assert (fault.kind, fault.detail, fault.digest) == ("size", f"is {size} bytes of 500", layer)
    assert seen.bytes == 0


def test_a_bad_sector(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.layer(b"layer")
    fail_at(monkeypatch, "preadv", 2, errno.EIO, shelf.root)
    [fault], _ = look(shelf)
    assert (fault.kind, fault.detail) == ("unreadable", "Input/output error")


def test_a_file_that_the_disk_does_not_even_open(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shelf.layout.blob(shelf.layer(b"layer"))
    really_open = os.open

    def broken(name: str, flags: int, *rest: Any) -> int:
        if name == path and not flags & os.O_PATH:
            raise OSError(errno.EUCLEAN, os.strerror(errno.EUCLEAN), name)
        return really_open(name, flags, *rest)

    monkeypatch.setattr(os, "open", broken)
    [fault], _ = look(shelf)
    assert fault.kind == "unreadable"
    assert fault.file
    assert fault.file.is_at(path)


def test_a_failing_disk_is_no_fault_of_a_file(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.layer(b"layer")
    fail_at(monkeypatch, "open", 1, errno.EMFILE, Path(shelf.layout.blobs))
    with pytest.raises(OSError, match="Too many open files"):
        look(shelf)


def test_a_folder_that_cannot_be_listed(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.layer(b"layer")
    fail_at(monkeypatch, "scandir", 1, errno.EACCES, Path(shelf.layout.repositories))
    [fault], seen = look(shelf)
    assert (fault.kind, fault.path) == ("unreadable", shelf.layout.repositories)
    assert seen.files == 1


def test_what_the_server_may_not_read(shelf: Shelf) -> None:
    path = shelf.layout.blob(shelf.layer(b"layer"))
    outcomes = []
    for mode in (0o400, 0o404):
        os.chmod(path, mode)
        found = rehash.examine(path, Digest.of(b"layer"), lambda count: None, os.getuid() + 1)
        outcomes.append(found and found.kind)
    assert outcomes == ["permissions", None]


def test_dangling_links(shelf: Shelf, tmp_path: Path) -> None:
    gone, moved, right = (shelf.layer(data) for data in (b"gone", b"moved", b"right"))
    for digest in (gone, moved, right):
        name = shelf.layout.membership(HUB_APP, digest)
        os.unlink(name)
        os.symlink(os.path.relpath(shelf.layout.blob(digest), os.path.dirname(name)), name)
    os.unlink(shelf.layout.blob(gone))
    name = shelf.layout.membership(HUB_APP, moved)
    os.unlink(name)
    os.symlink(shelf.layout.blob(right), name)
    assert kinds(shelf) == sorted(
        ("dangling", f"repositories/{HUB}/{APP}/_blobs/sha256/{each.hex}") for each in (gone, moved)
    )


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"\xff" * 10, b"[" * 100_000])
def test_torn_records(shelf: Shelf, data: bytes) -> None:
    image, _ = fill(shelf)
    paths = [
        shelf.layout.tag(HUB_APP, Tag("1")),
        shelf.layout.manifest(HUB_APP, image, "json"),
        *([] if data == b"{}" else [shelf.layout.referrers(HUB_APP, image), shelf.layout.upstream_note(HUB)]),
    ]
    for path in paths:
        Path(path).write_bytes(data)
    assert kinds(shelf) == sorted(("torn", os.path.relpath(path, shelf.root)) for path in paths)


@pytest.mark.parametrize(
    "record", [{"media_type": "a/b"}, {"children": []}, {"media_type": "a/b", "children": [["x", 1]]}]
)
def test_a_manifests_record_without_what_must_be_in_it(shelf: Shelf, record: dict[str, Any]) -> None:
    path = shelf.layout.manifest(HUB_APP, shelf.image(), "json")
    Path(path).write_text(json.dumps(record))
    assert kinds(shelf) == [("torn", os.path.relpath(path, shelf.root))]


def test_a_torn_status_of_a_download(shelf: Shelf) -> None:
    digest = Digest.of(b"unfinished")
    path = Path(shelf.layout.status(digest))
    path.write_bytes(b"")
    claim = shelf.store.partials.claim(digest)
    assert claim
    with claim:
        assert kinds(shelf) == []
    assert kinds(shelf) == [("torn", os.path.relpath(path, shelf.root))]


def test_a_record_whose_manifest_is_gone(shelf: Shelf) -> None:
    image = shelf.image()
    os.unlink(shelf.layout.manifest(HUB_APP, image, "oci-manifest"))
    assert kinds(shelf) == [("lost", f"repositories/{HUB}/{APP}/_manifests/sha256/{image.hex}.json")]


def test_foreign_files(shelf: Shelf) -> None:
    image, layer = fill(shelf)
    repository, letters = f"repositories/{HUB}/{APP}", f"blobs/sha256/{layer.hex[:2]}"
    other = "00" if layer.hex[:2] != "00" else "01"
    files = [
        *("README", "blobs/README", "blobs/sha256/README", f"{letters}/README", f"{letters}/{other}{layer.hex[2:]}"),
        *("partial/sha256/README", "partial/md5", "locks/README", "locks/sha256/README", "upstreams/README"),
        *("repositories/README", f"{repository}/README", f"{repository}/_tags/README", f"{repository}/_uploads"),
        *(f"{repository}/_tags/-.json", f"{repository}/_blobs/sha256/{layer.hex}.json", f"{repository}/_blobs/md5"),
        *(f"{repository}/_manifests/sha256/{image.hex}", f"{repository}/_manifests/sha256/{image.hex}.oci-thing"),
        f"{repository}/_referrers/sha256/{layer.hex}",
    ]
    for file in files:
        (shelf.root / file).write_bytes(b"")
    folders = ["Backup", f"{repository}/_tags/2.json", f"blobs/sha256/{other}/{other}{layer.hex[2:]}"]
    for folder in folders:
        (shelf.root / folder).mkdir(parents=True)
    link = f"{letters}/{layer.hex[:2]}{'0' * 62}"
    (shelf.root / link).symlink_to(layer.hex)
    assert kinds(shelf) == sorted(("foreign", name) for name in (*files, *folders, link))


def test_what_a_live_store_or_a_crash_leaves_is_no_fault(shelf: Shelf) -> None:
    child = Digest.of(b"nobody pulled it")
    shelf.index(shelf.image(child, shelf.layer(b"layer")), child, tag="latest")
    # The crash came before the record.
    os.unlink(shelf.layout.manifest(HUB_APP, shelf.image(repository=APP), "json"))
    # A tag that was only asked for.
    other = shelf.image(repository=OTHER, tag="latest")
    for extension in ("json", "oci-manifest"):
        os.unlink(shelf.layout.manifest(HUB_OTHER, other, extension))
    found, seen = look(shelf)
    assert found == []
    assert (seen.incomplete, seen.missing) == (1, 1)


def test_bytes_that_are_not_the_blobs_are_compared_where_they_lie(shelf: Shelf) -> None:
    evicted, replaced, wrong = (shelf.layer(data) for data in (b"evicted", b"replaced", b"wrong"))
    for digest in (evicted, replaced, wrong):
        os.unlink(shelf.layout.blob(digest))
    shelf.store.put(b"replaced")
    flip(shelf.layout.membership(HUB_APP, wrong))
    [fault], seen = look(shelf)
    assert (fault.kind, fault.path) == ("flipped", shelf.layout.membership(HUB_APP, wrong))
    assert (seen.files, seen.apart) == (4, 3)


def test_a_part_of_the_store(shelf: Shelf) -> None:
    layers = [shelf.layer(b"%d" % number) for number in range(30)]
    for layer in layers:
        flip(shelf.layout.blob(layer))
    halves = [
        {each.digest for each in look(shelf, covers=lambda hex, odd=odd: int(hex[0], 16) % 2 == odd)[0]}
        for odd in (0, 1)
    ]
    assert halves[0] | halves[1] == set(layers)
    assert halves[0] & halves[1] == set()


def test_a_pass_may_begin_anywhere(shelf: Shelf) -> None:
    layers = sorted(shelf.layer(b"%d" % number).hex for number in range(30))
    for layer in layers:
        flip(shelf.layout.blob(Digest("sha256", layer)))
    start = int(layers[20][:2], 16)
    order = [each.digest.hex for each in look(shelf, start=start)[0] if each.digest]
    assert int(order[0][:2], 16) == start
    assert sorted(order) == layers


def test_looking_is_no_use(shelf: Shelf) -> None:
    """Else nothing that is verified once a month would ever expire."""
    image, layer = fill(shelf)
    for digest in (image, layer):
        shelf.used(digest, 40 * DAY)
    look(shelf)
    assert [shelf.ago(digest) for digest in (image, layer)] == [40 * DAY, 40 * DAY]


@pytest.fixture
def noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every reading changes the atime: somebody else's file, on a disk mounted strictatime."""
    really_open, really_read, utime = os.open, os.preadv, os.utime

    def strict(name: str, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_NOATIME:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), name)
        return really_open(name, flags, *rest, **options)

    def read(descriptor: int, *rest: Any) -> int:
        utime(descriptor, ns=(int(NOW) * 10**9, os.fstat(descriptor).st_mtime_ns))
        return really_read(descriptor, *rest)

    monkeypatch.setattr(os, "open", strict)
    monkeypatch.setattr(os, "preadv", read)


@pytest.mark.usefixtures("noticed")
def test_a_use_that_looking_makes_is_taken_back(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer", ago=40 * DAY)
    assert look(shelf)[0] == []
    assert shelf.ago(layer) == 40 * DAY


@pytest.mark.usefixtures("noticed")
def test_a_use_that_cannot_be_taken_back_is_told(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.layer(b"layer", ago=40 * DAY)
    refusing(monkeypatch, "utime", errno.EPERM)
    [fault], _ = look(shelf)
    assert fault.kind == "owner"


def test_what_is_evicted_while_it_is_read_is_no_fault(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer" * 100)
    flip(shelf.layout.blob(layer))

    def evict(count: int) -> None:
        os.unlink(shelf.layout.membership(HUB_APP, layer))
        os.unlink(shelf.layout.blob(layer))

    found, seen = look(shelf, pace=evict)
    assert (found, seen.files) == ([], 1)


def test_what_is_healed_while_it_is_read_is_no_fault(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer" * 100)
    flip(shelf.layout.blob(layer))

    def heal(count: int) -> None:
        os.unlink(shelf.layout.blob(layer))
        shelf.store.put(b"layer" * 100)

    assert look(shelf, pace=heal)[0] == []


def test_looking_leaves_no_descriptor_open(shelf: Shelf) -> None:
    before = descriptors()
    fill(shelf)
    flip(shelf.layout.blob(shelf.layer(b"wrong")))
    found = [each.kind for each in look(shelf)[0]]
    assert (found, descriptors()) == (["flipped"], before)


def test_a_signed_manifest_is_sound_under_the_name_of_what_was_signed(shelf: Shelf) -> None:
    part, whole = signed()
    named, stored = Digest.of(part), Digest.of(whole)
    shelf.store.records.put_manifest(HUB_APP, named, whole, parse_manifest(whole))
    assert kinds(shelf) == []
    flip(shelf.layout.blob(stored))
    name = shelf.layout.manifest(HUB_APP, named, "other")
    paths = sorted(os.path.relpath(path, shelf.root) for path in (shelf.layout.blob(stored), name))
    assert kinds(shelf) == [("flipped", path) for path in paths]


def test_a_blob_is_never_named_by_a_part_of_it(shelf: Shelf) -> None:
    part, whole = signed()
    shelf.store.blobs.add(Digest.of(part), whole)
    [(kind, _)] = kinds(shelf)
    assert kind == "flipped"


def test_pieces_that_cannot_be_read_are_torn(shelf: Shelf) -> None:
    path = Pieces(shelf.layout).make(HUB, Digest.of(b"read by ranges"), 100_000).path
    os.truncate(path, 5000)
    assert kinds(shelf) == [("torn", os.path.relpath(path, shelf.root))]


def test_a_disk_that_gives_a_little_at_a_time_damages_nothing(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some of the network do; to take it for all of a block would put good bytes into quarantine."""
    shelf.layer(b"bytes" * 10_000)
    really = os.preadv

    def preadv(descriptor: int, buffers: Sequence[memoryview], offset: int, flags: int = 0) -> int:
        return really(descriptor, [buffers[0][:1000]], offset, flags)

    monkeypatch.setattr(os, "preadv", preadv)
    assert kinds(shelf) == []
