"""OCI image layouts move in, as folders and as tars; and what a tar may try goes nowhere."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry_cache.errors import NameUnknown
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Repository, Tag
from registry_cache.store.interchange import linking
from registry_cache.store.interchange.ingest import Arrival
from registry_cache.store.interchange.tar_stream import TarStream
from registry_cache.upkeep.import_archive import ImportNames, UnknownDestination
from tests.harness.cleanup_rig import snapshot
from tests.harness.content import Content
from tests.harness.images import Image, make_image, make_index
from tests.harness.import_rig import HUB_ONLY, Moved, OldRegistry, layout_files, packed, tar_of, write_folder
from tests.harness.store_rig import APP, HUB, HUB_APP, open_store

REF, NAME = "org.opencontainers.image.ref.name", "io.containerd.image.name"
AS_APP = ImportNames(HUB, HUB_ONLY.find, FullName(HUB, APP))


@pytest.fixture
def moved(tmp_path: Path) -> Moved:
    return Moved(open_store(tmp_path / "store"))


def image_of(repository: str = "library/app", seed: int = 0) -> tuple[Content, Image]:
    content = Content()
    return content, make_image(content, repository, layers=2, layer_size=1024, seed=seed)


def named(*names: dict[str, str]) -> dict[str, bytes]:
    return layout_files((*image_of(seed=seed), annotations) for seed, annotations in enumerate(names))


def tags(moved: Moved, repository: str = "library/app") -> list[str]:
    return moved.store.records.tags(FullName(HUB, Repository.parse(repository)))


@pytest.mark.parametrize("form", ["folder", "tar", "gzip", "index last"])
def test_a_layout_moves_in(moved: Moved, tmp_path: Path, form: str) -> None:
    content, image = image_of()
    files = layout_files([(content, image, {NAME: "docker.io/library/app:1", REF: "other"})])
    if form == "folder":
        moved.folder(write_folder(tmp_path / "layout", files))
        assert moved.counts() == [4, 0, 0]
    elif form == "index last":
        index = files.pop("index.json")
        moved.archive(tar_of(files | {"index.json": index}))
    else:
        moved.archive(packed(tar_of(files)) if form == "gzip" else tar_of(files))
    assert moved.told() == []
    assert moved.holds(image)
    assert (tags(moved), moved.result.repositories) == (["1"], 1)


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_a_power_cut_after_the_end_takes_no_name(
    moved: Moved, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has seen the import end may delete the archive."""
    synced: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(linking, "sync_disk", lambda folder: synced.append((folder, tags(moved))))
    files = named({NAME: "docker.io/library/app:1"})
    if form == "folder":
        moved.folder(write_folder(tmp_path / "layout", files))
    else:
        moved.archive(tar_of(files))
    assert synced[-1] == (moved.store.layout.repositories, ["1"])


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_by_any_tar_and_any_digest(moved: Moved, form: int) -> None:
    content = Content()
    layer = b"layer" * 1000
    digest = content.add_blob(layer, algorithm="sha512")
    manifest = {"layers": [{"mediaType": "a/b", "digest": digest, "size": len(layer)}]}
    top = content.add_manifest(manifest, algorithm="sha512")
    found = content.manifest("library/app", top)
    assert found
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": top,
        "annotations": {REF: "library/app:1"},
    }
    files = {f"./blobs/{digest.replace(':', '/')}": layer, f"./blobs/{top.replace(':', '/')}": found[1].data}
    files["././index.json"] = json.dumps({"manifests": [entry]}).encode()

    moved.archive(tar_of(files, form))

    assert moved.told() == []
    assert moved.store.read(Digest.parse(digest)) == layer
    assert tags(moved) == ["1"]


@pytest.mark.parametrize(
    ("annotations", "repository", "tag"),
    [
        ({NAME: "docker.io/library/app:1.27"}, "library/app", "1.27"),
        ({NAME: "docker.io/library/app:1.27", REF: "1.27"}, "library/app", "1.27"),
        ({REF: "docker.io/library/app:1.27"}, "library/app", "1.27"),
        ({REF: "team/app"}, "team/app", "latest"),
        ({REF: "app:2"}, "app", "2"),
        ({NAME: f"team/app:3@sha256:{'a' * 64}"}, "team/app", "3"),
        ({NAME: f"team/app@sha256:{'a' * 64}"}, "team/app", None),
    ],
)
def test_names(moved: Moved, annotations: dict[str, str], repository: str, tag: str | None) -> None:
    moved.archive(tar_of(named(annotations)))
    assert tags(moved, repository) == ([tag] if tag else [])
    assert moved.result.manifests == 1


@pytest.mark.parametrize("annotations", [{}, {REF: "1.27"}, {REF: "", NAME: ""}, {REF: f"sha256:{'a' * 64}"}])
def test_a_layout_that_tells_no_repository_is_asked_for_one(moved: Moved, annotations: dict[str, str]) -> None:
    with pytest.raises(UnknownDestination, match="name it with --as, such as --as library/nginx"):
        moved.archive(tar_of(named(annotations)))
    # Nothing was brought that would have no name.
    assert moved.store.files("blobs") == set()

    moved.archive(tar_of(named(annotations)), AS_APP)

    assert moved.told() == []
    assert tags(moved) == (["1.27"] if annotations.get(REF) == "1.27" else [])
    assert moved.result.manifests == 1


def test_what_an_operator_calls_it(moved: Moved) -> None:
    moved.archive(
        tar_of(named({NAME: "ghcr.io/team/app:1"})), ImportNames(HUB, HUB_ONLY.find, FullName(HUB, APP), Tag("2"))
    )
    assert tags(moved) == ["2"]


def test_names_that_lead_nowhere(moved: Moved) -> None:
    def find(path: str) -> FullName:
        raise NameUnknown(f"{path} is not a registry")

    elsewhere = ImportNames(HUB, find)
    with pytest.raises(UnknownDestination, match=r"ghcr\.io/team/app is not a registry; or say with --as"):
        moved.archive(tar_of(named({NAME: "ghcr.io/team/app:1"})), elsewhere)
    with pytest.raises(UnknownDestination, match="leave the tag out"):
        moved.archive(
            tar_of(named({REF: "1"}, {REF: "2"})), ImportNames(HUB, HUB_ONLY.find, FullName(HUB, APP), Tag("9"))
        )
    with pytest.raises(UnknownDestination, match="would both be library/app:1"):
        moved.archive(tar_of(named({NAME: "a/b:1"}, {NAME: "c/d:1"})), AS_APP)
    with pytest.raises(UnknownDestination, match="is no tag"):
        moved.archive(tar_of(named({REF: "not+a+tag"})))
    for index in (
        b"[]",
        b"{",
        b'{"manifests":{}}',
        b'{"manifests":[1]}',
        b'{"manifests":[{"digest":"x"}]}',
        b"[" * 9999,
    ):
        with pytest.raises(UnknownDestination, match=r"index\.json|not a digest"):
            moved.archive(tar_of({"index.json": index, **named({REF: "app:1"})} | {"index.json": index}))
    assert moved.store.files("repositories") == set()


def test_a_signature_goes_where_the_image_does(moved: Moved) -> None:
    moved.archive(tar_of(named({NAME: "docker.io/library/app:1"}, {})))
    assert (tags(moved), moved.result.manifests) == (["1"], 2)


def test_an_index_of_which_one_platform_is_here(moved: Moved) -> None:
    content = Content()
    index = make_index(content, layers=1, layer_size=100)
    here = index.images[0]
    files = layout_files([(content, here, {})])
    found = content.manifest("library/app", index.digest)
    assert found
    files[f"blobs/{index.digest.replace(':', '/')}"] = found[1].data
    entry = {"mediaType": index.media_type, "digest": index.digest, "annotations": {REF: "app:1"}}
    files["index.json"] = json.dumps({"manifests": [entry]}).encode()

    result = moved.archive(tar_of(files), AS_APP)

    assert moved.told() == []
    assert (result.manifests, result.absent, result.tags) == (2, 1, 1)
    assert moved.holds(here, tag="")


def test_an_archive_gives_nobody_what_it_does_not_have(moved: Moved) -> None:
    secret = moved.store.put(b"somebody else's layer")
    content = Content()
    manifest = {"layers": [{"mediaType": "a/b", "digest": str(secret), "size": 21}]}
    top = content.add_manifest(manifest)
    found = content.manifest("library/app", top)
    assert found
    entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": top}
    index = json.dumps({"manifests": [entry | {"annotations": {REF: "library/app:1"}}]}).encode()

    moved.archive(tar_of({"index.json": index, f"blobs/{top.replace(':', '/')}": found[1].data}))

    assert (tags(moved), moved.result.absent) == (["1"], 1)
    assert moved.store.read(secret) is None


def test_an_archive_is_news_of_its_tags(moved: Moved) -> None:
    first, second = named({NAME: "docker.io/library/app:1"}), image_of(seed=7)
    moved.archive(tar_of(first))
    moved.archive(tar_of(layout_files([(*second, {NAME: "docker.io/library/app:1"})])))
    assert moved.holds(second[1])
    record = moved.store.records.tag(HUB_APP, Tag("1"))
    assert record
    assert record.previous == Digest.parse(image_of()[1].digest)


def test_a_dry_run_takes_nothing(moved: Moved, tmp_path: Path) -> None:
    data = packed(tar_of(named({NAME: "docker.io/library/app:1"})))
    before = snapshot(Path(moved.store.layout.root))
    result = moved.archive(data, dry_run=True)
    assert snapshot(Path(moved.store.layout.root)) == before
    assert (moved.counts(), result.tags, result.repositories) == ([4, 0, 0], 1, 1)


def test_run_again_it_brings_what_is_missing(moved: Moved) -> None:
    files = named({NAME: "docker.io/library/app:1"})
    whole = tar_of(files)
    moved.archive(whole[: len(whole) * 2 // 3])
    assert "it ends too early" in moved.told()[0]
    brought = moved.counts()[1]
    assert 0 < brought < 4
    moved.archive(whole)
    assert moved.counts() == [0, 4 - brought, brought]
    assert moved.holds(image_of()[1])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it ends too early"),
        (b"root:x:0:0\n" * 100, "it is not a tar"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 600, "compressed with zstd: decompress it first"),
        (packed(b"no tar" * 1000)[:-9], "it is not a tar"),
        (packed(tar_of({"a": b"b"}))[:40], "its gzip is damaged"),
        (tar_of({"manifest.json": b"[]"}), "it has no index.json"),
        (tar_of({"index.json": b"{}"}) * 1, "index.json is no index"),
    ],
    ids=["empty", "text", "zstd", "half gzip", "cut gzip", "no index", "a wrong index"],
)
def test_what_is_no_archive(moved: Moved, data: bytes, words: str) -> None:
    try:
        moved.archive(data)
    except UnknownDestination as error:
        told = str(error)
    else:
        told = "\n".join(moved.told())
    assert words in told


class Hostile:
    """Entries called like a blob that are something else, and blobs called like something else."""

    def __init__(self, outside: Path) -> None:
        self.outside = outside
        self.blob = f"blobs/sha256/{Digest.of(b'bytes').hex}"

    def entries(self) -> Iterator[tuple[str, bytes, Any]]:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"5"):

            def change(entry: tarfile.TarInfo, kind: bytes = kind) -> None:
                entry.type, entry.linkname, entry.devmajor, entry.size = kind, str(self.outside / "secret"), 1, 0

            yield self.blob, b"", change
        for prefix in ("../", "/", "x/../", f"{self.outside}/", "blobs/../", "./../", "\\", "blobs/sha256/../../../"):
            yield prefix + self.blob, b"bytes", lambda entry: None
        yield f"blobs/sha256/../../../../{self.outside}/new", b"bytes", lambda entry: None
        yield f"blobs/sha256/{'a' * 63}", b"bytes", lambda entry: None
        yield f"blobs/md5/{'a' * 32}", b"bytes", lambda entry: None
        yield f"{self.blob}\n", b"bytes", lambda entry: None
        yield f"blobs/sha256/{'a' * 64}", b"bytes", lambda entry: None


def test_what_a_tar_may_try(moved: Moved, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"bytes")
    hostile = Hostile(outside)
    before = snapshot(outside)
    for name, data, change in hostile.entries():
        good = named({NAME: "docker.io/library/app:1"})
        moved.archive(tar_of({name: data}, change=change)[: 512 * (2 if data else 1)] + tar_of(good))
        assert moved.holds(image_of()[1]), name
    assert snapshot(outside) == before
    assert len(moved.store.files("blobs")) == 4
    assert moved.store.wrong_blobs() == []


def test_two_indexes_are_one_too_many(moved: Moved) -> None:
    good = named({NAME: "docker.io/library/app:1"})
    moved.archive(tar_of({"index.json": good["index.json"]})[:1024] + tar_of(good))
    assert "nobody can tell which one is meant" in moved.told()[0]


def test_a_header_that_promises_the_world_is_not_believed(moved: Moved) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        entry = tarfile.TarInfo("pax")
        entry.type, entry.size = kind, 2**40
        moved.archive(entry.tobuf(tarfile.GNU_FORMAT) + bytes(10_000))
        assert "it holds headers of 1099511627776 bytes" in moved.told()[0]
    entry = tarfile.TarInfo("sparse")
    entry.type = tarfile.GNUTYPE_SPARSE
    moved.archive(entry.tobuf(tarfile.GNU_FORMAT) + bytes(10_000))
    assert "sparse" in moved.told()[0]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.integers(0, 40_000),
    junk=st.binary(min_size=1, max_size=700),
    cut=st.integers(0, 700),
    zipped=st.booleans(),
)
def test_any_damage_ends_in_words_and_no_wrong_byte(
    tmp_path_factory: pytest.TempPathFactory, at: int, junk: bytes, cut: int, zipped: bool
) -> None:
    moved = Moved(open_store(tmp_path_factory.mktemp("any") / "store"))
    data = tar_of(named({NAME: "docker.io/library/app:1"}))
    data = packed(data) if zipped else data
    at %= len(data)
    with contextlib.suppress(UnknownDestination):
        moved.archive(data[:at] + junk + data[at + cut :])
    assert moved.store.wrong_blobs() == []
    if not moved.result.damaged and moved.result.tags:
        assert moved.holds(image_of()[1])


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=300),
            st.binary(max_size=1500),
        ),
        max_size=5,
    ),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_any_tar_is_read_as_tarfile_reads_it(entries: list[tuple[str, bytes]], form: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, data in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    buffer.seek(0)
    stream = TarStream(buffer)
    ours = [(each.name, each.regular and b"".join(stream.blocks())) for each in stream.members()]
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as tar:
        theirs = [(each.name, (file := tar.extractfile(each)) is not None and file.read()) for each in tar]
    assert [(name.rstrip("/"), data) for name, data in ours] == [(name.rstrip("/"), data) for name, data in theirs]


def test_what_is_here_already_is_not_brought_again(tmp_path: Path, moved: Moved) -> None:
    image = OldRegistry(tmp_path / "old").image()
    moved.distribution(OldRegistry(tmp_path / "old"))
    result = moved.folder(write_folder(tmp_path / "layout", named({NAME: "docker.io/library/app:1"})))
    assert result.tallies[Arrival.HERE].blobs == 4
    assert moved.holds(image)
