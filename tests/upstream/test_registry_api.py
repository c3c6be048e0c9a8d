"""Which repository a URL is about."""

from __future__ import annotations

import time

import pytest

from registry_cache.upstream.network.url import MAX_URL_LENGTH
from registry_cache.upstream.registry_api import api_repository


@pytest.mark.parametrize(
    ("path", "repository"),
    [
        ("/v2/library/app/manifests/1.0", "library/app"),
        ("/prefix/v2/app/blobs/sha256:00", "app"),
        ("/v2/v2/blobs/blobs/sha256:00", "v2/blobs"),
        ("/v2/app/tags/list", "app"),
        ("/v2/app/uploads/1", None),
        ("/v2/manifests/1", None),
        ("/blobs/sha256:00", None),
    ],
)
def test_the_repository_of_a_url(path: str, repository: str | None) -> None:
    assert api_repository(f"https://registry.example{path}") == repository


def test_a_path_of_nothing_but_begins_is_read_once() -> None:
    """It was read anew from each of them, for half a second."""
    url = "https://registry.example" + "/v2/" * (MAX_URL_LENGTH // 4 - 10)
    began = time.process_time()
    assert api_repository(url) is None
    assert time.process_time() - began < 0.1
