"""What objects are called: every node must compute the same, for ever."""

import pytest

from registry_cache.oci import object_keys
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Repository, Tag

DIGEST = Digest.of(b"")
HEX = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_keys() -> None:
    repository = Repository.parse("library/nginx")

    assert object_keys.blob(DIGEST) == f"blobs/sha256/e3/{HEX}"
    base = "repositories/docker.io/library/nginx"
    assert object_keys.membership(FullName("docker.io", repository), DIGEST) == f"{base}/_blobs/sha256/{HEX}"
    assert object_keys.manifest(FullName("docker.io", repository), DIGEST) == f"{base}/_manifests/sha256/{HEX}"
    assert object_keys.tag(FullName("docker.io", repository), Tag.parse("1.27")) == f"{base}/_tags/1.27"


@pytest.mark.parametrize(
    ("root", "prefix"),
    [("", "registry-cache/1/"), ("/", "registry-cache/1/"), ("/some/root/", "some/root/registry-cache/1/")],
)
def test_the_prefix_is_below_distributions_root(root: str, prefix: str) -> None:
    assert object_keys.prefix(root) == prefix
