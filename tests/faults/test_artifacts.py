"""What is no image passes as opaque bytes, and what refers to an image outlives its registry."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from tests.harness.content import APP, OCI_INDEX, OCI_MANIFEST
from tests.harness.images import make_artifact, make_fallback_tag, make_image, random_bytes, sign_as_cosign
from tests.harness.story import Story
from tests.harness.telling import code, message, told

HELM = "application/vnd.cncf.helm.config.v1+json"
WASM = "application/vnd.wasm.config.v0+json"
SBOM = "application/vnd.example.sbom.v1+json"
NOBODY_KNOWS = "application/vnd.nobody.knows+cbor"


@pytest.mark.parametrize("by_tag", [False, True])
def test_referrers_are_known_and_pulled_while_the_registry_is_away(story: Story, by_tag: bool) -> None:
    image = make_image(story.upstream, tag="1", seed=301)
    sbom = make_artifact(story.upstream, image.digest, artifact_type=SBOM, annotations={"made": "by hand"})
    other = make_artifact(story.upstream, image.digest, artifact_type="application/vnd.example.other")
    if by_tag:
        make_fallback_tag(story.upstream, image.digest)
        story.upstream.faults.no_referrers = True
    path = f"/v2/{story.app}/referrers/{image.digest}"
    fresh = story.puller.get(path)
    assert {each["digest"] for each in fresh.json()["manifests"]} == {sbom, other}
    assert story.manifest(sbom).status == 200
    story.upstream.stop()

    stale = story.puller.get(path)
    assert (stale.status, stale.headers["X-Cache"], stale.headers["Content-Type"]) == (200, "stale", OCI_INDEX)
    assert stale.headers["Warning"].startswith('299 - "')
    assert stale.json() == fresh.json()

    filtered = story.puller.get(f"{path}?artifactType={quote(SBOM, safe='')}")
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    (found,) = filtered.json()["manifests"]
    assert (found["digest"], found["artifactType"], found["annotations"]) == (sbom, SBOM, {"made": "by hand"})
    assert told(story.manifest(sbom))[:2] == (200, "hit")


def test_a_cosign_signature_is_served_while_the_registry_is_away(story: Story) -> None:
    image = make_image(story.upstream, tag="1", seed=302)
    tag = sign_as_cosign(story.upstream, image.digest)
    signature = story.manifest(tag)
    assert signature.status == 200
    (layer,) = signature.json()["layers"]
    assert story.start_blob(layer["digest"]).finish().digest == layer["digest"]
    story.upstream.stop()
    assert story.manifest(tag).body == signature.body
    assert image.digest in story.blob(layer["digest"]).body.decode()


@pytest.mark.parametrize(
    ("media_type", "config"),
    [
        (OCI_MANIFEST, HELM),
        (OCI_MANIFEST, WASM),
        (OCI_MANIFEST, "application/vnd.oci.empty.v1+json"),
        (OCI_MANIFEST, "text/html"),
        (NOBODY_KNOWS, ""),
    ],
)
def test_any_type_passes_as_it_is(story: Story, media_type: str, config: str) -> None:
    data = random_bytes(5000, f"{media_type} {config}")
    layer = story.upstream.add_blob(data)
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        **({"config": {"mediaType": config, "digest": layer, "size": len(data)}} if config else {}),
        "layers": [{"mediaType": NOBODY_KNOWS, "digest": layer, "size": len(data)}],
    }
    # Odd spacing and key order must survive: the digest is that of these very bytes.
    exact = json.dumps(document, indent=7).replace(": ", " :  ").encode() + b"\n\n"
    digest = story.upstream.add_manifest(exact, media_type, tag="chart-1.2.3")
    for outcome in ("miss", "revalidated"):
        answer = story.manifest("chart-1.2.3")
        assert told(answer) == (200, outcome, digest)
        assert (answer.body, answer.headers["Content-Type"]) == (exact, media_type)
    assert story.blob(layer).body == data
    story.upstream.stop()
    stale = story.manifest("chart-1.2.3")
    assert told(stale) == (200, "stale", digest)
    assert (stale.body, stale.headers["Content-Type"]) == (exact, media_type)


def test_a_manifest_that_is_no_json_is_kept_as_bytes_where_upstream_tells_its_digest(story: Story) -> None:
    exact = b"\x00\x01 not JSON at all"
    digest = story.upstream.add_manifest(exact, NOBODY_KNOWS, tag="odd")
    for outcome in ("miss", "revalidated"):
        answer = story.manifest("odd")
        assert told(answer) == (200, outcome, digest)
        assert (answer.body, answer.headers["Content-Type"]) == (exact, NOBODY_KNOWS)


@pytest.mark.parametrize("exact", [b"\x00\x01 not JSON at all", b"[1]", b""])
def test_one_that_nothing_vouches_for_is_refused_in_words(story: Story, exact: bytes) -> None:
    story.upstream.add_manifest(exact, NOBODY_KNOWS, tag="odd")
    story.upstream.faults.no_digest_header = True
    answer = story.manifest("odd")
    assert code(answer) == (502, "UNKNOWN")
    assert "no manifest" in message(answer)


def test_a_web_page_in_the_place_of_a_registry_displaces_nothing(story: Story) -> None:
    """A captive portal's, or one that tells of maintenance: 200 to whatever is asked."""
    image = make_image(story.upstream, tag="1", seed=304)
    story.manifest("1")
    page = b"<html>Please log in</html>"
    story.upstream.faults.answer("/v2/", 200, page, Content_Type="text/html; charset=utf-8")
    for _ in range(2):
        answer = story.manifest("1")
        assert told(answer) == (200, "stale", image.digest)
        assert answer.body == image.manifest
        assert "web page" in answer.headers["Warning"]
    for reference in ("2", "sha256:" + "0" * 64):
        assert code(story.manifest(reference)) == (502, "UNKNOWN")
        assert story.puller.head(f"/v2/{story.app}/manifests/{reference}").status == 502
    # It proves no access to what another repository has brought.
    assert story.puller.manifest(image.digest, f"{story.name}/library/other").status == 502
    story.upstream.reset_faults()
    assert told(story.manifest("1")) == (200, "revalidated", image.digest)


@pytest.mark.parametrize("here", [False, True])
def test_that_nothing_refers_to_it_is_kept_for_what_is_here_alone(story: Story, here: bool) -> None:
    """Any digest may be asked for, and a file for each would be litter."""
    image = make_image(story.upstream, tag="1", seed=303)
    if here:
        assert story.manifest("1").status == 200
    path = f"/v2/{story.app}/referrers/{image.digest}"
    assert story.puller.get(path).json()["manifests"] == []
    kept = list((story.cache.root / "repositories" / story.name / APP / "_referrers").rglob("*.json"))
    assert len(kept) == here
    story.upstream.stop()
    assert story.puller.get(path).status == (200 if here else 503)
