"""A hit has the same headers whoever answers it: nginx from the files, or the application."""

from collections.abc import Mapping

import pytest

from tests.harness.images import KiB, Kind, make_image, make_index, random_bytes
from tests.harness.nginx_rig import HUB, OTHER, Behind, both


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_blob(behind: Behind, method: str, algorithm: str) -> None:
    name = behind.repository()
    blob = behind.upstream.add_blob(random_bytes(5 * KiB, seed=1), name, algorithm=algorithm)
    behind.app.blob(blob, name)

    answer = both(behind, f"/v2/{name}/blobs/{blob}", method=method)

    assert (answer.status, answer.headers["X-Cache"]) == (200, "hit")
    assert behind.passed_on(answer) == "-"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Range": "bytes=10-19"}, 206),
        ({"Range": "bytes=0-"}, 206),
        ({"Range": "bytes=-7"}, 206),
        ({"Range": f"bytes=7-{2**64 - 1}"}, 206),
        ({"Range": "bytes=9-3"}, 416),
        ({"Range": "bytes=0-1,5-x"}, 200),
        ({"Range": "bytes=10-19", "If-Range": '"{blob}"'}, 206),
        ({"Range": "bytes=10-19", "If-Range": '"another"'}, 200),
        ({"Range": "bytes=999999-"}, 416),
        ({"If-None-Match": '"{blob}"'}, 304),
        ({"If-None-Match": 'W/"{blob}"'}, 304),
        ({"If-None-Match": '"another"'}, 200),
        ({"If-Match": '"another"'}, 200),
        ({"If-Match": '"another"', "Range": "bytes=10-19"}, 206),
        ({"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 200),
        ({"If-Modified-Since": "Sun, 06 Nov 2044 08:49:37 GMT"}, 200),
        ({"Accept-Encoding": "gzip"}, 200),
    ],
)
def test_a_range_or_a_condition(behind: Behind, headers: Mapping[str, str], status: int) -> None:
    name = behind.repository()
    blob = behind.upstream.add_blob(random_bytes(5 * KiB, seed=2), name)
    behind.app.blob(blob, name)

    for method in ("GET", "HEAD"):
        answer = both(
            behind,
            f"/v2/{name}/blobs/{blob}",
            {key: value.format(blob=blob) for key, value in headers.items()},
            method=method,
        )
        # A HEAD has no range (RFC 9110 §14.2).
        assert answer.status == status if method == "GET" or status == 304 else 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_manifests_of_all_kinds(behind: Behind, kind: Kind, method: str) -> None:
    name = behind.repository()
    index = make_index(behind.upstream, name, kind=kind, layers=1, layer_size=KiB)
    for digest in (index.digest, index.images[0].digest):
        behind.app.manifest(digest, name)
        path = f"/v2/{name}/manifests/{digest}"
        answer = both(behind, path, method=method)
        assert (answer.status, behind.passed_on(answer)) == (200, "-")
        assert both(behind, path, {"If-None-Match": f'"{digest}"'}, method).status == 304
        assert both(behind, path, {"Range": "bytes=0-9"}, method).status == 200


def test_a_manifest_of_another_kind_is_the_applications(behind: Behind) -> None:
    name = behind.repository()
    digest = behind.upstream.add_manifest({"schemaVersion": 2, "x": 1}, "application/vnd.other+json", repository=name)
    behind.app.manifest(digest, name)

    answer = both(behind, f"/v2/{name}/manifests/{digest}")

    assert answer.headers["Content-Type"] == "application/vnd.other+json"
    assert behind.passed_on(answer) == "200"


@pytest.mark.parametrize(
    ("form", "direct"),
    [
        ("/v2/{name}/{end}", True),
        ("/v2/{name}/{end}?ns=docker.io", True),
        ("/v2/docker.io/{name}/{end}", True),
        ("/v2/{name}/{end}?ns=DOCKER.io", False),
        ("/v2/Docker.io/{name}/{end}", False),
        ("/v2/{name}/{end}?ns=docker%2Eio", False),
        ("/v2/{name}/{end}?ns=docker.io&x=y", False),
        ("/v2/{name}/{end}?", False),
        ("/v2/{name}/{end}?ns=", False),
    ],
)
def test_the_three_ways_to_name_a_registry(behind: Behind, form: str, direct: bool) -> None:
    name = behind.repository()
    image = make_image(behind.upstream, name, tag="1", layers=1, layer_size=KiB)
    for end in (f"blobs/{image.layers[0]}", f"manifests/{image.digest}"):
        path = form.format(name=name, end=end)
        behind.app.get(path)
        answer = both(behind, path)
        assert answer.status == 200
        assert behind.passed_on(answer) == ("-" if direct else "200")


@pytest.mark.parametrize("form", ["?ns={OTHER}", "?ns=registry.example%3A5000", "path"])
def test_another_registry_with_a_port(behind: Behind, form: str) -> None:
    name = behind.repository()
    blob = behind.other.add_blob(random_bytes(KiB, seed=3), name)
    path = (
        f"/v2/{OTHER}/{name}/blobs/{blob}" if form == "path" else f"/v2/{name}/blobs/{blob}{form.format(OTHER=OTHER)}"
    )
    behind.app.get(path)

    answer = both(behind, path)

    assert (answer.status, behind.passed_on(answer)) == (200, "-")
    assert answer.headers["OCI-Namespace"] == (None if form == "path" else OTHER)


def test_a_blob_belongs_to_the_registry_it_was_pulled_from(behind: Behind) -> None:
    name = behind.repository()
    blob = behind.other.add_blob(random_bytes(KiB, seed=4), name)
    behind.app.get(f"/v2/{OTHER}/{name}/blobs/{blob}")

    assert both(behind, f"/v2/{name}/blobs/{blob}?ns={HUB}").status == 404
    assert both(behind, f"/v2/{name}-other/blobs/{blob}?ns={OTHER}").status == 404


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v2/"), ("GET", "/"), ("GET", "/nope"), ("HEAD", "/v2/"), ("GET", "/v2")]
)
def test_what_is_no_hit(behind: Behind, method: str, path: str) -> None:
    both(behind, path, method=method)
