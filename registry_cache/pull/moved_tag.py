"""What a pull does when a tag moves between HEAD and GET, and takes with it the manifest that HEAD has named."""

from __future__ import annotations

from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Tag
from registry_cache.pull.manifest_fetch import ManifestFetch
from registry_cache.pull.target import PullTarget
from registry_cache.store.records import StoredManifest


def fetch_moved(
    fetch: ManifestFetch, target: PullTarget, tag: Tag, unknown: Digest, *, has_copy: bool
) -> StoredManifest:
    """Fetch by tag, because upstream does not know the ``unknown`` digest that its HEAD named.

    Or this registry serves no digests: it is remembered, so that no more pulls are lost on what its HEADs claim.
    """
    stored = fetch.by_tag(target, tag, has_copy=has_copy)
    target.upstream.heads.record_vain_claim(target.name.repository, tag, unknown)
    return stored
