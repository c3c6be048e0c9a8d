"""All that is known of one repository."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime

import pytest

from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import parse_manifest
from registry_cache.oci.media_types import OCI_INDEX, OCI_MANIFEST
from registry_cache.oci.names import Repository, Tag
from registry_cache.oci.pattern import ImagePattern
from registry_cache.store.pins import ANY_UPSTREAM, Pin, Pins
from registry_cache.store.record_format import TagRecord
from registry_cache.store.repositories import RepositoryFolder
from registry_cache.upkeep.repository_details import repository_details, some_tags
from tests.harness.cleanup_rig import DAY, NOW, Shelf
from tests.harness.store_rig import APP, HUB, HUB_APP

OTHER = Repository("library/other")


def put(shelf: Shelf, document: dict[str, object], media_type: str) -> Digest:
    data = json.dumps(document).encode()
    digest = Digest.of(data)
    shelf.store.records.put_manifest(HUB_APP, digest, data, parse_manifest(data, media_type))
    return digest


def test_images_with_tags_sizes_and_last_use(shelf: Shelf) -> None:
    both = shelf.layer(b"s" * 1000, APP, OTHER)
    image = shelf.image(shelf.layer(b"a" * 5000), both, tag="1", ago=2 * DAY)
    shelf.image(both, repository=OTHER, tag="x")
    untagged = shelf.image(shelf.layer(b"b" * 300), ago=DAY)
    Pins(shelf.layout).add([Pin(ANY_UPSTREAM, ImagePattern.parse("library/app:1"))])

    found = repository_details(shelf.layout, "docker.io/library/app")

    assert found is not None
    assert (found.name, found.total) == ("docker.io/library/app", 2)
    latest, older = found.images
    assert (latest.digest, list(latest.tags), latest.pinned) == (untagged, [], False)
    assert (older.digest, list(older.tags), older.pinned) == (image, ["1"], True)
    assert (older.shared, latest.shared) == (1000, 0)
    assert older.size > 6000
    assert older.used == NOW - 2 * DAY
    assert found.size == older.size + latest.size
    assert some_tags(shelf.layout, "docker.io/library/app", 4) == ["1"]


def test_platforms_of_an_index_are_those_that_are_here(shelf: Shelf) -> None:
    config = shelf.layer(json.dumps({"os": "linux", "architecture": "arm", "variant": "v7"}).encode())
    descriptor = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": str(config), "size": 60}
    image = put(shelf, {"config": descriptor, "layers": []}, OCI_MANIFEST)
    found = repository_details(shelf.layout, "docker.io/library/app")
    assert found is not None
    assert found.images[0].platforms == ["linux/arm/v7"]

    named = [
        {"digest": str(digest), "size": 1, "platform": {"os": "linux", "architecture": architecture}}
        for digest, architecture in ((image, "arm64"), (Digest.of(b"not here"), "s390x"))
    ]
    put(shelf, {"manifests": named}, OCI_INDEX)
    found = repository_details(shelf.layout, "docker.io/library/app")
    assert found is not None
    assert [each.platforms for each in found.images] == [["linux/arm64"]]


@pytest.mark.parametrize("config", [b"", b"[]", b'"x"', b"{" * 10_000, b"\xff"])
def test_a_configuration_that_says_nothing(shelf: Shelf, config: bytes) -> None:
    layer = shelf.layer(config) if config else Digest.of(b"not here")
    put(shelf, {"config": {"digest": str(layer), "size": len(config)}, "layers": []}, OCI_MANIFEST)
    found = repository_details(shelf.layout, "docker.io/library/app")
    assert found is not None
    assert found.images[0].platforms == []


def test_the_most_recent_of_many(shelf: Shelf) -> None:
    images = [shelf.image(shelf.layer(bytes([number])), tag=str(number), ago=number * DAY) for number in range(5)]
    found = repository_details(shelf.layout, "docker.io/library/app", most=2)
    assert found is not None
    assert ([each.digest for each in found.images], found.total) == (images[:2], 5)


@pytest.mark.parametrize(
    "name",
    [
        "docker.io/library/none",
        "docker.io",
        "",
        "/library/app",
        "../repositories/docker.io",
        "./library/app",
        "docker.io/../../etc",
        "docker.io/library/app/_tags",
        "docker.io/LIBRARY",
        "docker\0.io/library/app",
        "_x/a",
    ],
)
def test_what_is_not_here_and_what_no_repository_is_called(shelf: Shelf, name: str) -> None:
    shelf.image(shelf.layer(b"a"), tag="1")
    assert repository_details(shelf.layout, name) is None
    assert some_tags(shelf.layout, name, 4) == []
    assert not os.path.exists(f"{shelf.layout.repositories}/docker.io/library/none")


def test_a_tag_that_goes_while_they_are_listed(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    image, now = shelf.image(shelf.layer(b"a"), tag="gone"), datetime.now(UTC)
    shelf.store.records.put_tag(HUB_APP, Tag.parse("here"), TagRecord(image, OCI_MANIFEST, 1, now, now))
    really = RepositoryFolder.tags

    def tags(folder: RepositoryFolder) -> list[os.DirEntry[str]]:
        found = really(folder)
        os.unlink(shelf.layout.tag(HUB_APP, Tag.parse("gone")))
        return found

    monkeypatch.setattr(RepositoryFolder, "tags", tags)
    assert some_tags(shelf.layout, f"{HUB}/{APP}", 10) == ["here", "gone"]
