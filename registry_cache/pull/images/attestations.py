"""What says how an image was built, and who signed that: dockerd pulls it with the image since 29.1, or not at all.

Attestations are children of the index, as BuildKit makes them; signatures refer to them (P83).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from registry_cache.errors import DigestInvalid, ManifestUnknown
from registry_cache.oci.digest import Digest
from registry_cache.oci.platform import attestations
from registry_cache.pull.images.closure import Get, Parts, collect
from registry_cache.store.records import StoredManifest

# The artifact types of signatures that dockerd fetches.
SIGNATURES = frozenset(
    ["application/vnd.dev.cosign.artifact.sig.v1+json", "application/vnd.dev.sigstore.bundle.v0.3+json"]
)

# Returns the descriptors of what refers to a manifest.
Referrers = Callable[[Digest], list[dict[str, object]]]


def add_attestations(parts: Parts, index: StoredManifest, get: Get, referrers: Referrers) -> None:
    """Add to ``parts`` what ``index`` attests of the images in them, and the signatures of that.

    What an index names and its registry lacks is left out: some are copied for a few platforms only.
    """
    for attestation, image in attestations(index.data).items():
        if image in parts.manifests and _add(parts, attestation, get):
            for signature in _signatures(referrers(attestation)):
                _add(parts, signature, get)


def _add(parts: Parts, digest: Digest, get: Get) -> bool:
    try:
        manifest = get(digest)
    except ManifestUnknown:
        return False
    if manifest is None:
        return False
    found = collect(manifest, (), get)
    parts.manifests.update(found.manifests)
    parts.blobs.update(found.blobs)
    return True


def _signatures(found: list[dict[str, object]]) -> Iterator[Digest]:
    for each in found:
        if isinstance(each, Mapping) and each.get("artifactType") in SIGNATURES:
            try:
                yield Digest.parse(str(each.get("digest")))
            except DigestInvalid:
                continue
