"""The list of images: each once, with its tags, its size, what it shares, and when it was used."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import pytest

from registry_cache.oci.names import Repository
from registry_cache.upkeep.image_list import ImageListReport, Sort, list_images
from tests.harness.cleanup_rig import DAY, NOW, Shelf

OTHER = Repository("library/other")
TODAY = datetime.fromtimestamp(NOW, UTC)


@pytest.fixture
def filled(shelf: Shelf) -> Shelf:
    shared = shelf.layer(b"s" * 1000, Repository("library/app"), OTHER)
    image = shelf.image(shelf.layer(b"a" * 5000), shared)
    shelf.index(image, tag="1", ago=DAY)
    shelf.index(image, tag="latest", ago=DAY)
    shelf.image(shared, repository=OTHER, ago=2 * DAY)
    return shelf


def test_images_by_name(filled: Shelf) -> None:
    app, other = list_images(filled.layout, "", "name")

    assert (app.names, list(app.tags)) == (["docker.io/library/app:1", "docker.io/library/app:latest"], ["1", "latest"])
    assert other.names == [f"docker.io/library/other@{other.digest}"]
    assert (app.shared, other.shared) == (1000, 1000)
    assert app.size > 6000
    assert (app.used, other.used) == (NOW - DAY, NOW - 2 * DAY)


def test_an_image_of_schema_1(shelf: Shelf) -> None:
    name, blob = shelf.signed(shelf.layer(b"a" * 5000, ago=2 * DAY), tag="1", ago=DAY)
    (image,) = list_images(shelf.layout, "", "name")
    assert (image.digest, image.used) == (name, NOW - DAY)
    assert image.size == 5000 + os.path.getsize(shelf.layout.blob(blob))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        *(("", 2), ("app", 1), ("docker.io/library/*", 2), ("*:latest", 1), ("other@sha256", 1), ("nothing", 0)),
        *(("*:2", 0), ("library/*", 2), ("app:*", 1), ("library/app", 1), ("**/app", 1), ("ibrary/*", 0)),
        *(("APP", 1), ("SHA256:", 2)),
    ],
)
def test_a_pattern(filled: Shelf, pattern: str, found: int) -> None:
    assert len(list_images(filled.layout, pattern, "name")) == found


def test_an_image_by_its_name_and_digest_though_it_has_tags(filled: Shelf) -> None:
    app, _ = list_images(filled.layout, "", "name")
    for pattern in (f"library/app@{app.digest}", f"{app.digest}", f"library/app@{app.digest}"[:30]):
        assert list_images(filled.layout, pattern, "name") == [app]


@pytest.mark.parametrize(("sort", "first"), [("name", "app"), ("size", "app"), ("used", "other")])
def test_the_order(filled: Shelf, sort: Sort, first: str) -> None:
    assert list_images(filled.layout, "", sort)[0].repository == f"docker.io/library/{first}"


def test_what_is_said(filled: Shelf) -> None:
    report = ImageListReport(list_images(filled.layout, "app", "name"), TODAY)
    head, row = report.lines()
    assert head.split() == ["SIZE", "SHARED", "LAST", "USED", "IMAGE"]
    assert row.endswith("  docker.io/library/app:1, latest")
    images: Any = report.document()["images"]
    assert images[0]["tags"] == ["1", "latest"]
    assert list(ImageListReport([], TODAY).lines()) == ["no image is here"]
    assert list(ImageListReport([], TODAY, pattern="ngnix").lines()) == ["no image here matches 'ngnix'"]


def test_those_that_are_pulled_most_come_first(filled: Shelf) -> None:
    app, other = list_images(filled.layout, "", "name")
    counts = {(app.repository, str(app.digest)): 2, (other.repository, str(other.digest)): 12, ("gone", "x"): 99}
    found = list_images(filled.layout, "", "pulls", counts)
    assert [(each.repository, each.pulls) for each in found] == [(other.repository, 12), (app.repository, 2)]
    head, first, second = ImageListReport(found, TODAY).lines()
    assert [line.split()[0] for line in (head, first, second)] == ["PULLS", "12", "2"]
    assert [each.pulls for each in list_images(filled.layout, "", "pulls", {})] == [0, 0]
