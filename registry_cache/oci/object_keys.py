"""What objects are called in the bucket that several caches share. Pure; the bucket's own prefix comes before these.

    blobs/sha256/ab/<hex>                                  the blob
    repositories/<upstream>/<name>/_blobs/sha256/<hex>     empty: this repository contains that blob
    repositories/<upstream>/<name>/_manifests/sha256/<hex> the manifest's bytes; its media type is the Content-Type
    repositories/<upstream>/<name>/_tags/<tag>             the tag's record, as JSON

No component of a repository begins with ``_``, so no key can mean two things. An object is as good as a permission to
read: whoever may write to the bucket may give any repository any blob.
"""

from __future__ import annotations

from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Tag

# The layout's version. Under the bucket's root directory, so that a Distribution may share the bucket.
PREFIX = "registry-cache/1/"

BLOBS, REPOSITORIES = "blobs/", "repositories/"


def prefix(root_directory: str) -> str:
    """Return what comes before every key, for ``storage.s3.rootdirectory``."""
    root = root_directory.strip("/")
    return f"{root}/{PREFIX}" if root else PREFIX


def blob(digest: Digest) -> str:
    return f"{BLOBS}{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"


def membership(name: FullName, digest: Digest) -> str:
    return f"{REPOSITORIES}{name.upstream}/{name.repository}/_blobs/{digest.algorithm}/{digest.hex}"


def manifest(name: FullName, digest: Digest) -> str:
    return f"{REPOSITORIES}{name.upstream}/{name.repository}/_manifests/{digest.algorithm}/{digest.hex}"


def tag(name: FullName, tag: Tag) -> str:
    return f"{REPOSITORIES}{name.upstream}/{name.repository}/_tags/{tag}"
