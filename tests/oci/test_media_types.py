"""Media types and the kinds that stand for them on disk."""

from __future__ import annotations

import pytest

from registry_cache.oci import media_types


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        ("application/vnd.oci.image.index.v1+json", "oci-index"),
        ("application/vnd.oci.image.manifest.v1+json", "oci-manifest"),
        ("application/vnd.docker.distribution.manifest.list.v2+json", "docker-index"),
        ("application/vnd.docker.distribution.manifest.v2+json", "docker-manifest"),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", "other"),
        ("application/json", "other"),
        ("../../etc/passwd", "other"),
        ("", "other"),
    ],
)
def test_kinds(media_type: str, kind: str) -> None:
    assert media_types.kind_of(media_type) == kind


@pytest.mark.parametrize(
    ("content_type", "bare"),
    [
        ("application/json", "application/json"),
        ("application/json; charset=utf-8", "application/json"),
        ("application/json;charset=utf-8;x=y", "application/json"),
        (" Application/JSON ;", "application/json"),
        (";", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_without_parameters(content_type: str | None, bare: str) -> None:
    assert media_types.without_parameters(content_type) == bare


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (media_types.OCI_INDEX, True),
        (media_types.DOCKER_MANIFEST, True),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", True),
        ("a/b", True),
        ("", False),
        ("application", False),
        ("/", False),
        ("application/", False),
        ("application/json; charset=utf-8", False),
        ("application/json\n", False),
        ("application/json\r\nSet-Cookie: a=b", False),
        ("a/b/c", False),
        ("../b", False),
        ("application/é", False),
        ("a/" + "b" * 127, True),
        ("a/" + "b" * 128, False),
    ],
)
def test_is_media_type(text: str, expected: bool) -> None:
    assert media_types.is_media_type(text) is expected


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (media_types.OCI_INDEX, media_types.OCI_INDEX),
        (f"{media_types.OCI_INDEX}; charset=utf-8", media_types.OCI_INDEX),
        ("Application/Vnd.OCI.image.manifest.v1+JSON", media_types.OCI_MANIFEST),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws",) * 2,
        ("application/vnd.acme.thing-1_2",) * 2,
        # What a browser shows, or any file may have.
        *(
            (shown, "")
            for shown in (
                *("text/html", "text/plain", "text/xml", "text/javascript", "image/svg+xml", "image/png", "video/mp4"),
                *("application/xhtml+xml", "application/xml", "application/javascript", "application/pdf"),
                *("application/json", "application/octet-stream", "application/ld+json", "multipart/mixed"),
                *("application/vnd.x+xml", "application/vnd.mozilla.xul+xml", "application/vnd.x+html"),
                *("application/vnd.x+json+xml", "application/vnd.+json", "application/vnd.x y", "application/vnd.x$"),
                *("application/vnd.x\r\nX: y", "application/vnd.é", "application/vnd." + "x" * 200, "", None),
            )
        ),
    ],
)
def test_what_may_be_a_manifests(content_type: str | None, expected: str) -> None:
    assert media_types.of_manifest(content_type) == expected


def test_upstream_is_told_of_indexes_and_manifests_before_anything_else() -> None:
    # P26: a registry that is not told of indexes may answer with one platform's manifest under the same tag.
    *known, rest = media_types.ACCEPT_MANIFEST.split(", ")
    assert known == [
        media_types.OCI_INDEX,
        media_types.OCI_MANIFEST,
        media_types.DOCKER_INDEX,
        media_types.DOCKER_MANIFEST,
    ]
    assert rest == "*/*;q=0.1"
