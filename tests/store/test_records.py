"""Records are whole or absent; a manifest's bytes are compared to its digest whenever they are read."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_cache.errors import StoreError, StoreFull
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import MAX_MANIFEST_SIZE, parse_manifest
from registry_cache.oci.media_types import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, kind_of
from registry_cache.oci.names import FullName, Repository, Tag
from registry_cache.store import record_format
from registry_cache.store.record_format import Child, TagRecord
from tests.harness.schema_1 import signed
from tests.harness.store_rig import (
    APP,
    HUB,
    HUB_APP,
    HUB_OTHER,
    LATEST,
    OTHER,
    Store,
    each_failing_call,
    fail_at,
    open_store,
)

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
LAYER = Digest.of(b"layer")
DOCUMENT = json.dumps({"layers": [{"mediaType": "a/b", "digest": str(LAYER), "size": 5}]}, indent=3).encode()
DIGEST = Digest.of(DOCUMENT)
RECORD = TagRecord(DIGEST, OCI_MANIFEST, len(DOCUMENT), checked_at=NOW, changed_at=NOW)


def put(store: Store, repository: Repository = APP, media_type: str = OCI_MANIFEST, data: bytes = DOCUMENT) -> Digest:
    digest = Digest.of(data)
    store.records.put_manifest(FullName(HUB, repository), digest, data, parse_manifest(data, media_type))
    return digest


def put_tagged(store: Store) -> None:
    put(store)
    store.records.put_tag(HUB_APP, LATEST, RECORD)


def flip(path: str) -> None:
    """Flip a bit as a failing disk does: in the file, whatever its names."""
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))


def truncate(path: str, size: int = 7) -> None:
    os.chmod(path, 0o644)
    os.truncate(path, size)


def test_a_tag_comes_back_as_it_was_kept(store: Store) -> None:
    assert store.records.tag(HUB_APP, LATEST) is None
    store.records.put_tag(HUB_APP, LATEST, RECORD)
    found = store.records.tag(HUB_APP, LATEST)
    assert found is not None
    assert (found.digest, found.media_type, found.size) == (DIGEST, OCI_MANIFEST, len(DOCUMENT))
    assert found.changed_at == NOW
    assert store.records.tag(HUB_OTHER, LATEST) is None
    assert store.records.tag(FullName("ghcr.io", APP), LATEST) is None


def test_confirming_a_tag_moves_its_check_and_nothing_else(store: Store) -> None:
    store.records.put_tag(HUB_APP, LATEST, RECORD)
    later = NOW + timedelta(days=3)
    store.records.touch_tag(HUB_APP, LATEST, later)
    found = store.records.tag(HUB_APP, LATEST)
    assert found is not None
    assert (found.checked_at, found.changed_at) == (later, NOW)
    store.records.touch_tag(HUB_APP, Tag.parse("absent"), later)


def test_what_another_process_does_to_a_tag_is_seen(store: Store, tmp_path: Path) -> None:
    other = open_store(tmp_path / "store")
    moved = replace(RECORD, digest=Digest.of(b"moved"))
    later = NOW + timedelta(days=3)

    def found() -> list[TagRecord | None]:
        # Twice: the first look may read it, the second has it in memory.
        return [store.records.tag(HUB_APP, LATEST) for _ in range(2)]

    other.records.put_tag(HUB_APP, LATEST, RECORD)
    assert found() == [RECORD] * 2
    other.records.touch_tag(HUB_APP, LATEST, later)
    assert found() == [replace(RECORD, checked_at=later)] * 2
    other.records.put_tag(HUB_APP, LATEST, moved)
    assert found() == [moved] * 2
    other.records.forget_tag(HUB_APP, LATEST)
    assert found() == [None] * 2


def test_a_forgotten_tag_is_gone_and_may_be_forgotten_again(store: Store) -> None:
    store.records.put_tag(HUB_APP, LATEST, RECORD)
    for _ in range(2):
        store.records.forget_tag(HUB_APP, LATEST)
        assert store.records.tag(HUB_APP, LATEST) is None


def test_tags_in_lexical_order_without_what_a_crash_left(store: Store) -> None:
    assert store.records.tags(HUB_APP) == []
    for name in ("b", "a", "B", "1.0", "_x"):
        store.records.put_tag(HUB_APP, Tag.parse(name), RECORD)
    Path(store.layout.tags(HUB_APP), ".1-2").touch()
    assert store.records.tags(HUB_APP) == ["1.0", "B", "_x", "a", "b"]


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b"null", b"5", b"{}", b"\xff", b"\0" * 99, b'{"digest": 5}'])
def test_a_torn_record_is_an_absent_one(store: Store, torn: bytes) -> None:
    store.records.put_tag(HUB_APP, LATEST, RECORD)
    Path(store.layout.tag(HUB_APP, LATEST)).write_bytes(torn)
    assert store.records.tag(HUB_APP, LATEST) is None
    store.records.put_tag(HUB_APP, LATEST, RECORD)
    assert store.records.tag(HUB_APP, LATEST) is not None
    put(store)
    Path(store.layout.manifest(HUB_APP, DIGEST, "json")).write_bytes(torn)
    assert store.records.manifest(HUB_APP, DIGEST) is None
    put(store)
    assert store.records.manifest(HUB_APP, DIGEST) is not None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(str(DIGEST)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)
documents = st.fixed_dictionaries({}, optional=dict.fromkeys(("digest", "media_type", "size", "changed_at"), values))


@settings(max_examples=150)
@given(st.binary(max_size=40) | (values | documents).map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_record_or_none(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    store = open_store(tmp_path_factory.getbasetemp() / "any-bytes")
    for path in (
        store.layout.tag(HUB_APP, LATEST),
        store.layout.manifest(HUB_APP, DIGEST, "json"),
        store.layout.status(DIGEST),
    ):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(data)
    assert isinstance(store.records.tag(HUB_APP, LATEST), TagRecord | None)
    assert store.records.manifest(HUB_APP, DIGEST) is None
    store.partials.status(DIGEST)


@pytest.mark.parametrize(
    "media_type", [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST, "application/vnd.example.artifact.v1+json"]
)
def test_a_manifest_comes_back_byte_for_byte(store: Store, media_type: str) -> None:
    put(store, media_type=media_type)
    found = store.records.manifest(HUB_APP, DIGEST)
    assert found is not None
    assert (found.digest, found.media_type, found.data) == (DIGEST, media_type, DOCUMENT)
    assert os.path.exists(store.layout.manifest(HUB_APP, DIGEST, kind_of(media_type)))
    record = json.loads(Path(store.layout.manifest(HUB_APP, DIGEST, "json")).read_bytes())
    assert record["children"] == [[str(LAYER), 5]]


def test_cached_is_not_authorised(store: Store) -> None:
    put(store)
    assert store.records.manifest(HUB_OTHER, DIGEST) is None
    assert store.records.read_any(DIGEST) == DOCUMENT
    put(store, OTHER)
    assert store.records.manifest(HUB_OTHER, DIGEST) is not None
    assert os.stat(store.layout.blob(DIGEST)).st_nlink == 3


@pytest.mark.parametrize("damage", [flip, truncate], ids=["flipped bit", "cut"])
def test_a_damaged_manifest_is_evicted(store: Store, damage: Callable[[str], None]) -> None:
    put(store)
    damage(store.layout.blob(DIGEST))
    assert store.records.read_any(DIGEST) is None
    assert store.records.manifest(HUB_APP, DIGEST) is None
    assert store.files("blobs") == store.files("repositories") == set()
    put(store)
    assert store.records.manifest(HUB_APP, DIGEST) is not None


def test_what_is_too_large_for_a_manifest_is_not_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer's digest in a manifest's URL must not bring the layer into memory."""
    layer = store.put(bytes(MAX_MANIFEST_SIZE + 1))
    exact = store.put(bytes(MAX_MANIFEST_SIZE))
    with monkeypatch.context() as patched:
        patched.setattr(Digest, "of", lambda *_: pytest.fail("hashed"))
        assert store.records.read_any(layer) is None
    assert store.records.read_any(exact) == bytes(MAX_MANIFEST_SIZE)


def test_a_manifest_that_has_grown_on_disk_is_evicted_unread(store: Store) -> None:
    put(store)
    truncate(store.layout.blob(DIGEST), 2**40)
    assert store.records.manifest(HUB_APP, DIGEST) is None
    assert store.files("blobs") == set()


def test_a_record_of_absurd_size_is_not_there(store: Store) -> None:
    put_tagged(store)
    put(store)
    store.records.put_referrers(HUB_APP, DIGEST, b"{}")
    for path in (
        store.layout.tag(HUB_APP, LATEST),
        store.layout.manifest(HUB_APP, DIGEST, "json"),
        store.layout.referrers(HUB_APP, DIGEST),
    ):
        os.truncate(path, 2**40)
    assert store.records.tag(HUB_APP, LATEST) is None
    assert store.records.manifest(HUB_APP, DIGEST) is None
    assert store.records.referrers(HUB_APP, DIGEST) is None


def test_an_eviction_does_not_take_what_was_fetched_since(store: Store) -> None:
    put(store)
    put(store, OTHER)
    flip(store.layout.blob(DIGEST))
    assert store.records.manifest(HUB_APP, DIGEST) is None
    put(store)
    assert store.records.manifest(HUB_OTHER, DIGEST) is None
    assert store.blobs.open_any(DIGEST)
    assert store.records.manifest(HUB_APP, DIGEST) is not None


def test_bytes_that_went_missing_are_a_miss(store: Store) -> None:
    put(store)
    os.unlink(store.layout.manifest(HUB_APP, DIGEST, kind_of(OCI_MANIFEST)))
    assert store.records.manifest(HUB_APP, DIGEST) is None
    put(store)
    assert store.records.manifest(HUB_APP, DIGEST) is not None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("name", ["open", "write", "fchmod", "fsync", "link", "rename", "mkdir"])
def test_a_disk_that_fails_while_keeping_a_manifest_and_its_tag(tmp_path: Path, name: str, code: int) -> None:
    for store, error in each_failing_call(name, code, tmp_path, put_tagged):
        assert error is None or (type(error) is StoreFull and os.strerror(code) in error.message)
        assert not [path for path in store.files() if "/." in path]
        # Children before names: a tag that is here leads to a manifest that is here.
        if store.records.tag(HUB_APP, LATEST):
            assert store.records.manifest(HUB_APP, DIGEST)
        put_tagged(store)
        assert store.records.manifest(HUB_APP, DIGEST)


def test_a_disk_that_fails_while_reading(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    put(store)
    store.records.put_tag(HUB_APP, LATEST, RECORD)
    reads = (
        lambda: store.records.tag(HUB_APP, LATEST),
        lambda: store.records.manifest(HUB_APP, DIGEST),
        lambda: store.records.read_any(DIGEST),
        lambda: store.records.referrers(HUB_APP, DIGEST),
    )
    for read in reads:
        with monkeypatch.context() as patched:
            fail_at(patched, "open", 1, errno.EIO, tmp_path)
            with pytest.raises(StoreError):
                read()


def test_a_leftover_of_a_process_with_our_id_does_not_stand_in_the_way(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In containers, a restarted worker has the id of the one that was killed."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    folder = Path(store.layout.tags(HUB_APP))
    folder.mkdir(parents=True)
    for number in range(10_000):
        (folder / f".7-{number}").touch()
    store.records.put_tag(HUB_APP, LATEST, RECORD)
    assert store.records.tags(HUB_APP) == ["latest"]


def test_referrers_that_are_forgotten_leave_no_folder_and_take_no_other(store: Store) -> None:
    name, other = Repository.parse("team/app"), Repository.parse("team/other")
    for repository in (name, other):
        store.records.put_referrers(FullName(HUB, repository), DIGEST, b"{}")

    store.records.forget_referrers(FullName(HUB, name), DIGEST)

    top = Path(store.layout.repositories) / HUB
    assert [path.name for path in top.glob("team/*")] == ["other"]
    store.records.forget_referrers(FullName(HUB, other), DIGEST)
    assert top.is_dir()
    assert not list(top.iterdir())


def test_referrers_are_kept_as_they_are(store: Store) -> None:
    assert store.records.referrers(HUB_APP, DIGEST) is None
    store.records.put_referrers(HUB_APP, DIGEST, b'{"manifests": []}')
    assert store.records.referrers(HUB_APP, DIGEST) == b'{"manifests": []}'


def test_the_catalog_pages_in_order(store: Store) -> None:
    names = ["a", "a-b", "a/b", "a/b/c", "b/c", "manifests/blobs"]
    for name in names:
        store.records.put_tag(FullName(HUB, Repository.parse(name)), LATEST, RECORD)
    put(store, Repository.parse("only/manifests"))
    store.put(b"x")
    store.blobs.grant(FullName(HUB, Repository.parse("only/blobs")), Digest.of(b"x"))
    found = list(store.records.repositories(HUB))
    assert sorted(found) == sorted([*names, "only/manifests"])
    for at, last in enumerate(found):
        assert list(store.records.repositories(HUB, last)) == found[at + 1 :]
    assert list(store.records.repositories("ghcr.io")) == []


def test_a_repository_whose_records_are_gone_is_not_listed(store: Store) -> None:
    put_tagged(store)
    put(store, OTHER)
    assert list(store.records.repositories(HUB)) == [str(APP), str(OTHER)]
    store.records.forget_tag(HUB_APP, LATEST)
    assert list(store.records.repositories(HUB)) == [str(APP), str(OTHER)]
    for repository in (APP, OTHER):
        os.unlink(store.layout.manifest(FullName(HUB, repository), DIGEST, "json"))
    Path(store.layout.tags(HUB_OTHER)).mkdir()
    Path(store.layout.tags(HUB_OTHER), ".0-1-2").touch()
    assert list(store.records.repositories(HUB)) == []


def test_what_is_named_beside_a_blob_by_the_latest_manifest_that_is_not_fat(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [{"mediaType": "a/b", "digest": f"sha256:{number:064x}", "size": number} for number in range(5000)]
    put(store, data=json.dumps({"layers": layers}).encode())
    put(store)
    put(store, data=json.dumps({"layers": layers[:3]}).encode())
    parsed: list[bytes | None] = []
    really = record_format.manifest_children

    def parse(data: bytes | None) -> list[Child]:
        parsed.append(data)
        return really(data)

    monkeypatch.setattr(record_format, "manifest_children", parse)

    def siblings(digest: str) -> list[int | None]:
        return [child.size for child in store.records.siblings(HUB_APP, Digest.parse(digest))]

    assert siblings(str(LAYER)) == [5]
    assert siblings(layers[2]["digest"]) == [0, 1, 2]  # type: ignore[arg-type]
    assert siblings(layers[4000]["digest"]) == []  # type: ignore[arg-type]
    assert siblings(str(Digest.of(b"of none"))) == []
    assert store.records.siblings(HUB_OTHER, LAYER) == []
    # No record was parsed that does not name what was asked for.
    assert len(parsed) == 2


def test_a_damaged_signed_manifest_is_brought_anew(store: Store) -> None:
    part, whole = signed()
    named = Digest.of(part)

    def bring() -> None:
        store.records.put_manifest(HUB_APP, named, whole, parse_manifest(whole))

    bring()
    flip(store.layout.blob(Digest.of(whole)))
    fresh = open_store(Path(store.layout.root)).records
    assert fresh.manifest(HUB_APP, named) is None
    bring()
    found = fresh.manifest(HUB_APP, named)
    assert found
    assert (found.digest, found.data) == (named, whole)
