"""Remove at once: names before what they name, only what nobody else has, and never what is pinned or locked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Repository, Tag
from registry_cache.oci.pattern import ImagePattern
from registry_cache.store import locks
from registry_cache.store.layout import Layout
from registry_cache.store.pins import Pin, Pins
from registry_cache.store.removal import Pinned, Removal, RemovalResult
from tests.harness.cleanup_rig import Shelf
from tests.harness.store_rig import APP, HUB, HUB_APP, HUB_OTHER

OTHER = Repository("library/other")


def remove_tag(shelf: Shelf, tag: str, repository: Repository = APP) -> RemovalResult:
    removal = Removal(shelf.layout)
    assert removal.tag(FullName(HUB, repository), Tag(tag))
    return removal.result


def names(shelf: Shelf) -> list[Path]:
    return [path for path in Path(shelf.layout.repositories).rglob("*") if not path.is_dir()]


def test_an_image_goes_with_all_that_it_alone_names(shelf: Shelf) -> None:
    own, shared = shelf.layer(b"own"), shelf.layer(b"shared", APP, OTHER)
    image = shelf.image(own, shared, tag="1")
    top = shelf.index(image, tag="2")
    left = shelf.image(shared, repository=OTHER, tag="1")

    # A tag of a manifest that an index names: only the tag goes.
    assert remove_tag(shelf, "1") == RemovalResult(names=1)
    result = remove_tag(shelf, "2")

    assert (result.blobs, result.shared, result.in_use) == (3, 1, 0)
    assert shelf.has(top, image, own) == [False] * 3
    assert shelf.has(left, shared) == [True] * 2
    assert all("/library/other/" in str(path) for path in names(shelf))


def test_an_image_of_schema_1_goes_with_its_bytes_and_layers(shelf: Shelf) -> None:
    own, shared = shelf.layer(b"own"), shelf.layer(b"shared", APP, OTHER)
    _, blob = shelf.signed(own, shared, tag="1")
    result = remove_tag(shelf, "1")
    assert (result.blobs, result.shared) == (2, 1)
    assert shelf.has(blob, own, shared) == [False, False, True]


@pytest.mark.parametrize("torn", [b"", b"[]", None])
def test_what_an_image_has_whose_record_a_power_cut_took_stays(shelf: Shelf, torn: bytes | None) -> None:
    shared, own = shelf.layer(b"shared"), shelf.layer(b"own")
    shelf.image(shared, own, tag="1")
    left = shelf.image(shared, tag="2")
    record = Path(shelf.layout.manifest(HUB_APP, left, "json"))
    record.unlink() if torn is None else record.write_bytes(torn)

    remove_tag(shelf, "1")

    assert shelf.has(own, shared, left) == [False, True, True]
    assert shelf.store.read(shared) == b"shared"


def test_what_another_image_of_the_repository_has_stays(shelf: Shelf) -> None:
    shared = shelf.layer(b"shared")
    first, second = shelf.image(shared, tag="1"), shelf.image(shared, shelf.layer(b"more"), tag="2")

    remove_tag(shelf, "1")

    assert shelf.has(first, second, shared) == [False, True, True]
    assert os.path.exists(shelf.layout.membership(HUB_APP, shared))


def test_a_second_tag_keeps_the_image(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer")
    image = shelf.image(layer, tag="1")
    assert shelf.image(layer, tag="2") == image

    assert remove_tag(shelf, "1") == RemovalResult(names=1)
    assert shelf.has(image, layer) == [True, True]
    assert remove_tag(shelf, "2").blobs == 2


def test_a_digest_goes_everywhere_or_from_one_repository(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer", APP, OTHER)
    image = shelf.image(layer, tag="1")
    assert shelf.image(layer, repository=OTHER, tag="1") == image

    assert Removal(shelf.layout).digest(image, HUB_OTHER)
    assert shelf.has(image, layer) == [True, True]
    assert not any("/library/other/" in str(path) for path in names(shelf))
    assert Removal(shelf.layout).digest(image)
    assert names(shelf) == []
    assert shelf.has(image, layer) == [False, False]


def test_a_layer_alone(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer")
    image = shelf.image(layer, tag="1")

    assert Removal(shelf.layout).digest(layer)

    assert shelf.has(image, layer) == [True, False]


def test_what_is_not_here(shelf: Shelf) -> None:
    assert not Removal(shelf.layout).tag(HUB_APP, Tag("1"))
    assert not Removal(shelf.layout).digest(Digest.of(b"none"))
    assert not Removal(shelf.layout).digest(Digest.of(b"none"), HUB_APP)


def test_what_is_pinned_stays_whole(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer")
    image = shelf.image(layer, tag="1")
    Pins(shelf.layout).add([Pin(HUB, ImagePattern.parse("library/app:1"))])

    for digest in (image, layer):
        with pytest.raises(Pinned, match=r"is pinned by docker.io/library/app:1: registry-cache unpin"):
            Removal(shelf.layout).digest(digest)
    with pytest.raises(Pinned):
        Removal(shelf.layout).tag(HUB_APP, Tag("1"))
    assert shelf.has(image, layer) == [True, True]


def test_what_is_locked_stays_without_a_name(shelf: Shelf) -> None:
    layer = shelf.layer(b"layer")
    shelf.image(layer, tag="1")

    with locks.LockFile(shelf.layout.lock(layer)) as lock:
        assert lock.acquire()
        result = remove_tag(shelf, "1")

    assert (result.blobs, result.in_use, shelf.has(layer)) == (1, 1, [True])
    assert names(shelf) == []


def test_no_name_ever_leads_to_what_is_gone(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped before any of its unlinks, it leaves a smaller store."""
    image = shelf.image(shelf.layer(b"layer"), tag="1")
    order: list[str] = []
    unlink = os.unlink

    def note(path: str) -> None:
        unlink(path)
        order.append(
            os.path.relpath(path, Layout(Path(shelf.layout.root)).root).split("/")[-3 if "sha256" in path else -2]
        )

    monkeypatch.setattr(os, "unlink", note)
    remove_tag(shelf, "1")

    # The record before the manifest's name, both before the layer's, all names before bytes.
    kinds = [kind for kind in order if kind != "locks"]
    assert kinds == ["_tags", "_manifests", "_manifests", "_blobs", "sha256", "sha256"]
    assert image
