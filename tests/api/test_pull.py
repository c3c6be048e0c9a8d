"""A whole image, from a cold cache and from a warm one; with tokens, with passwords, by way of a CDN."""

import http.client

import pytest

from tests.harness.cdn import FakeCdn
from tests.harness.content import APP, DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, digest_of
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import Image, KiB, Kind, MiB, make_artifact, make_image, make_index, random_bytes
from tests.harness.pullers import Answer, Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream
from tests.harness.workers import Workers

PRIVATE = "team/private"
ACCOUNT = {"username": "me", "password": "s3cret"}


def pull(puller: Puller, image: Image, reference: str = "1") -> list[str]:
    """Pull an image as docker does; the outcome of each of its parts."""
    manifest = puller.manifest(reference, image.repository)
    assert (manifest.body, manifest.headers["Content-Type"]) == (image.manifest, image.media_type)
    blobs = [puller.blob(blob, image.repository) for blob in image.blobs]
    assert [digest_of(blob.body) for blob in blobs] == list(image.blobs)
    return [answer.headers["X-Cache"] for answer in (manifest, *blobs)]


def refusal(answer: Answer) -> tuple[int, str, str | None]:
    """Status, code, and the challenge, which must not be there."""
    return answer.status, answer.json()["errors"][0]["code"], answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_an_image_is_fetched_once_and_served_for_good(upstream: FakeUpstream, puller: Puller, kind: Kind) -> None:
    image = make_image(upstream, kind=kind)
    assert pull(puller, image) == ["miss"] * 5
    assert pull(puller, image) == ["revalidated"] + ["hit"] * 4
    assert pull(puller, image, image.digest) == ["hit"] * 5
    assert [upstream.gets(part) for part in (image.digest, *image.blobs)] == [1] * 5

    upstream.stop()
    assert pull(puller, image, image.digest) == ["hit"] * 5
    assert pull(puller, image) == ["stale"] + ["hit"] * 4


@pytest.mark.parametrize(("kind", "media_type"), [("oci", OCI_INDEX), ("docker", DOCKER_INDEX)])
def test_an_index_is_kept_as_it_is_whatever_the_client_accepts(
    upstream: FakeUpstream, puller: Puller, kind: Kind, media_type: str
) -> None:
    index = make_index(upstream, kind=kind)
    for accept in ({"Accept": media_type}, {"Accept": "*/*"}, {}):
        answer = puller.manifest("1", headers=accept)
        assert (answer.headers["Content-Type"], digest_of(answer.body)) == (media_type, index.digest)
    for image in index.images:
        pull(puller, image, image.digest)


def test_a_client_may_send_its_accept_line_by_line(upstream: FakeUpstream, puller: Puller) -> None:
    image = make_image(upstream)
    connection = http.client.HTTPConnection(puller.address, timeout=60)
    connection.putrequest("GET", f"/v2/{APP}/manifests/1")
    for media_type in (OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST, "application/json", "*/*"):
        connection.putheader("Accept", media_type)
    connection.endheaders()
    with connection.getresponse() as response:
        assert (response.status, response.read()) == (200, image.manifest)
    connection.close()


def test_bytes_are_never_compressed_on_the_way(upstream: FakeUpstream, puller: Puller) -> None:
    image = make_image(upstream, compression="")
    coding = {"Accept-Encoding": "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5"}
    for _ in range(2):  # cold and warm
        for answer in (
            puller.manifest("1", headers=coding),
            *(puller.blob(blob, headers=coding) for blob in image.blobs),
        ):
            assert answer.headers["Content-Encoding"] is None
            assert digest_of(answer.body) in (image.digest, *image.blobs)


def test_sha512(upstream: FakeUpstream, puller: Puller) -> None:
    data = random_bytes(100 * KiB, seed="sha512")
    blob = upstream.add_blob(data, algorithm="sha512")
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": []}
    manifest = upstream.add_manifest(document, tag="512", algorithm="sha512")
    for outcome in ("miss", "hit"):
        answer = puller.blob(blob)
        assert (answer.headers["X-Cache"], answer.body) == (outcome, data)
        answer = puller.manifest(manifest)
        assert (answer.headers["X-Cache"], digest_of(answer.body, "sha512")) == (outcome, manifest)
    assert puller.manifest("512").headers["Docker-Content-Digest"] == manifest


def test_an_artifact_of_any_type(upstream: FakeUpstream, puller: Puller) -> None:
    digest = make_artifact(upstream, tag="sbom", artifact_type="application/vnd.example.thing.v7+cbor")
    assert digest_of(puller.manifest("sbom").body) == digest
    unheard = upstream.add_manifest(b"not even JSON", "application/vnd.example.unheard.v1", tag="odd")
    answer = puller.manifest("odd")
    assert (answer.body, answer.headers["Content-Type"]) == (b"not even JSON", "application/vnd.example.unheard.v1")
    assert puller.manifest(unheard).headers["X-Cache"] == "hit"


def test_a_manifest_of_four_mebibytes_and_none_that_is_larger(upstream: FakeUpstream, puller: Puller) -> None:
    largest = upstream.add_manifest(b"{" + b" " * (4 * MiB - 2) + b"}", tag="largest")
    upstream.add_manifest(b"{" + b" " * (4 * MiB - 1) + b"}", tag="larger")
    assert digest_of(puller.manifest("largest").body) == largest
    answer = puller.manifest("larger")
    assert (answer.status, answer.json()["errors"][0]["code"]) == (502, "UNKNOWN")
    assert "4 MiB" in answer.json()["errors"][0]["message"]


def test_an_image_of_six_layers_costs_a_token_a_worker(
    upstream: FakeUpstream, puller: Puller, workers: Workers
) -> None:
    upstream.faults.require_token = True
    images = [make_image(upstream, "team/tokens", tag, layers=6, seed=seed) for tag, seed in (("1", 1), ("2", 2))]
    for image, worker, tag in zip(images, (workers.first, workers.second), ("1", "2"), strict=True):
        with workers.only(worker):
            assert pull(puller, image, tag) == ["miss"] * 8
    assert len(upstream.token_requests) == 2


@pytest.mark.parametrize("account", [None, {"username": "me", "password": "wrong"}])
def test_a_private_repository_without_the_right_account_is_denied_and_never_challenges(
    upstream: FakeUpstream,
    puller: Puller,
    make_cache: MakeCache,
    make_puller: MakePuller,
    account: dict[str, str] | None,
) -> None:
    image = make_image(upstream, PRIVATE)
    public = make_image(upstream, "team/public")
    upstream.faults.private.add(PRIVATE)
    if account:
        puller = make_puller(make_cache({"proxy": account}).url)
    for path in ("manifests/1", f"manifests/{image.digest}", f"blobs/{image.config}", "tags/list"):
        assert refusal(puller.get(f"/v2/{PRIVATE}/{path}")) == (403, "DENIED", None)
    upstream.faults.require_token = True
    assert pull(puller, public) == ["miss"] * 5


def test_a_private_repository_with_the_operators_account(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    image = make_image(upstream, PRIVATE)
    upstream.faults.private.add(PRIVATE)
    upstream.faults.users["me"] = "s3cret"
    cache = make_cache({"proxy": ACCOUNT})
    puller = make_puller(cache.url)
    assert pull(puller, image) == ["miss"] * 5

    # A client's own credentials are nothing to us, and go nowhere.
    answer = puller.manifest("1", PRIVATE, {"Authorization": "Bearer somebody-elses"})
    assert answer.status == 200
    assert not [each for each in upstream.exchanges if "somebody" in each.headers.get("Authorization", "")]
    assert "s3cret" not in cache.log_text()

    # The account was taken away: an answer, and not an outage.
    upstream.tokens.revoke()
    upstream.faults.users.clear()
    assert refusal(puller.manifest("1", PRIVATE)) == (403, "DENIED", None)


def test_an_upstream_that_wants_a_password_and_no_token(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    image = make_image(upstream)
    upstream.faults.require_basic = ("me", "s3cret")
    assert pull(make_puller(make_cache({"proxy": ACCOUNT}).url), image) == ["miss"] * 5
    assert upstream.token_requests == []


def test_a_content_server_gets_the_range_and_no_credentials(
    upstream: FakeUpstream, cdn: FakeCdn, puller: Puller
) -> None:
    """The fake content server fails the test over an Authorization or a cookie."""
    upstream.faults.require_token = upstream.faults.set_cookie = True
    upstream.faults.redirect_blobs_to = cdn
    image = make_image(upstream, "team/redirected", layer_size=1 * MiB)
    upstream.faults.of(image.layers[0]).cut_after = [300 * KiB]
    assert pull(puller, image) == ["miss"] * 5
    assert sum(cdn.bytes_sent(blob) for blob in image.blobs) > 3 * MiB
    ranges = [each.headers["Range"] for each in cdn.asked("GET", image.layers[0])]
    assert ranges == [None, f"bytes={300 * KiB}-"]


PAGES = {
    "html": (b"<script>alert(1)</script>", "text/html"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "image/svg+xml"),
    "xml": (b'<x xmlns="http://www.w3.org/1999/xhtml"/>', "application/vnd.x+xml"),
    "named": (b'{"schemaVersion":2,"mediaType":"text/html","x":"<script>alert(1)</script>"}', "application/json"),
    "layers": (b'{"schemaVersion":2,"mediaType":"image/svg+xml","layers":[]}', "image/svg+xml"),
}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_in_the_place_of_a_manifest_is_nothing_to_a_browser(
    upstream: FakeUpstream, puller: Puller, page: str
) -> None:
    data, media_type = PAGES[page]
    digest = digest_of(data)
    for path in (".*/manifests/1$", f".*/manifests/{digest}"):
        upstream.faults.answer(path, 200, data, Content_Type=media_type, Docker_Content_Digest=digest)
    puller.manifest("1")
    for _ in range(2):
        answer = puller.manifest(digest)
        if answer.status == 200:
            shown = OCI_MANIFEST if page == "layers" else "application/json"
            assert answer.headers["Content-Type"] == shown
            assert answer.headers["Content-Disposition"] == "attachment"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


@pytest.mark.parametrize("path", ["manifests/1", f"blobs/sha256:{'f' * 64}"])
def test_a_registry_that_redirects_us_to_ourselves_is_asked_no_more(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller, path: str
) -> None:
    """Whichever worker it reaches. Each of them asked the registry anew, and was sent on to the next name."""
    for number in range(50):
        address = f"{cache.url}/v2/library/app{number}/{path}"
        upstream.faults.answer(f"/{path}", 307, times=1, Location=address)
    answer = puller.get(f"/v2/{APP}/{path}")
    assert answer.status >= 500
    assert len(upstream.exchanges) < 10
