"""What people write for an image, taken apart."""

from __future__ import annotations

import pytest

from registry_cache.errors import DigestInvalid, ManifestUnknown, NameInvalid
from registry_cache.oci.names import split_image_name

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "name", "reference"),
    [
        ("alpine", "alpine", "latest"),
        ("library/alpine:3.20", "library/alpine", "3.20"),
        ("ghcr.io/owner/app:v1", "ghcr.io/owner/app", "v1"),
        ("localhost:5000/app", "localhost:5000/app", "latest"),
        ("localhost:5000/app:1", "localhost:5000/app", "1"),
        (f"app@{DIGEST}", "app", DIGEST),
        (f"localhost:5000/app:1@{DIGEST}", "localhost:5000/app", DIGEST),
    ],
)
def test_parts(text: str, name: str, reference: str) -> None:
    found, what = split_image_name(text)
    assert (found, str(what)) == (name, reference)


@pytest.mark.parametrize(
    ("text", "error"), [("app:", ManifestUnknown), ("app:a b", ManifestUnknown), ("app@x", DigestInvalid)]
)
def test_what_cannot_be(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        split_image_name(text)


@pytest.mark.parametrize("text", ["docker://library/app:1", "https://ghcr.io/owner/app", f"oci://a/b@{DIGEST}"])
def test_a_url_is_answered_with_what_to_write(text: str) -> None:
    with pytest.raises(NameInvalid) as caught:
        split_image_name(text)
    assert caught.value.message.endswith(f" is a URL: write the image alone, as {text.partition('://')[2]}")
