"""Archives of stored images: which parts are here, and what their index says. Their bytes are the store's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from registry_cache.errors import ManifestUnknown, Unsupported
from registry_cache.oci import signed_manifest
from registry_cache.oci.digest import Digest
from registry_cache.oci.image_layout import LayoutEntry, write_index
from registry_cache.oci.manifest import parse_manifest
from registry_cache.oci.names import Tag
from registry_cache.oci.platform import Platform
from registry_cache.pull.images.closure import Image, Parts, collect, is_foreign, refuse_missing
from registry_cache.pull.images.warm import Progress, Warm
from registry_cache.store.blobs import Blobs
from registry_cache.store.interchange.archive import ArchiveWriter
from registry_cache.store.records import Records, StoredManifest


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image that is stored. ``sizes``: every digest that belongs to it, and its bytes."""

    image: Image
    top: StoredManifest
    parts: Parts
    sizes: dict[Digest, int]


class Export:
    """Archives of one store's images. ``warm`` brings first what is lacking; without it nobody is asked."""

    def __init__(self, records: Records, blobs: Blobs, warm: Warm | None) -> None:
        self._records = records
        self._blobs = blobs
        self._warm = warm

    def find(
        self, image: Image, wanted: Sequence[Platform] | None, progress: Progress = lambda done, total: None
    ) -> StoredImage:
        """Return the stored image for the ``wanted`` platforms: () are all of its index, None all that are whole here.

        Raises what ``Warm.image`` raises; ManifestUnknown, which says what is lacking; StoreError.
        """
        digest = None
        if self._warm and wanted is not None:
            digest = self._warm.image(image, wanted, progress).digest
        return _Search(self._records, self._blobs, image, wanted).run(digest)

    def write(
        self, found: Sequence[StoredImage], archive: ArchiveWriter, progress: Progress = lambda done, total: None
    ) -> int:
        """Write the images, each blob once, and return the archive's size in bytes. Raises StoreError."""
        sizes = {digest: size for each in found for digest, size in each.sizes.items()}
        return archive.write(self._blobs, write_index(_entries(found)), sizes, progress)


@dataclass(slots=True)
class _Search:
    """One search. ``sizes`` are those of what was found so far."""

    records: Records
    blobs: Blobs
    image: Image
    wanted: Sequence[Platform] | None
    sizes: dict[Digest, int] = field(default_factory=dict)

    def run(self, digest: Digest | None) -> StoredImage:
        top = self._top(digest)
        self._whole(top.digest)
        parts = collect(top, self.wanted or (), self._child)
        refuse_missing(self.image.name, parts, self.wanted or ())
        if len(parts.manifests) == 1 and parse_manifest(top.data, top.media_type).manifests:
            raise self._lacking("no platform of it is stored whole")
        return StoredImage(self.image, top, parts, self.sizes)

    def _top(self, digest: Digest | None) -> StoredManifest:
        """Return what the image's name means, as the server would where upstream is silent."""
        for each in [digest] if digest else self._meanings():
            found = self._manifest(each)
            if found:
                return found
        raise self._lacking("it is not stored")

    def _meanings(self) -> list[Digest]:
        reference, target = self.image.reference, self.image.target
        if isinstance(reference, Digest):
            return [reference]
        record = self.records.tag(target.name, reference)
        return [each for each in (record.digest, record.previous) if each] if record else []

    def _child(self, digest: Digest) -> StoredManifest | None:
        try:
            return self._whole(digest)
        except ManifestUnknown:
            if self.wanted is None:
                return None
            raise

    def _whole(self, digest: Digest) -> StoredManifest:
        """Return a manifest of the image whose blobs are all here, and note their sizes."""
        manifest = self._manifest(digest)
        if manifest is None:
            raise self._lacking(f"its manifest {digest} is not stored")
        if signed_manifest.digest_of_all(manifest.data, digest) != digest:
            raise Unsupported(
                "it is a signed image of Docker's schema 1, which an archive (an OCI image layout) "
                "cannot hold: leave it out, and let the other machine pull it through this cache"
            )
        here = {digest: manifest.size}
        for blob in parse_manifest(manifest.data, manifest.media_type).blobs:
            size = self._size(blob.digest)
            if size is not None:
                here[blob.digest] = size
            elif not is_foreign(blob):
                raise self._lacking(f"its blob {blob.digest} is not stored")
        self.sizes |= here
        return manifest

    def _manifest(self, digest: Digest) -> StoredManifest | None:
        return self.records.manifest(self.image.target.name, digest)

    def _size(self, digest: Digest) -> int | None:
        # By its name in the repository if it has one: that records its use, so a cleanup does not evict it meanwhile.
        found = self.blobs.open(self.image.target.name, digest)
        found = found or self.blobs.open_any(digest)
        return found.size if found else None

    def _lacking(self, what: str) -> ManifestUnknown:
        platforms = [] if self.wanted is None else [*map(str, self.wanted)] or ["all"]
        command = " ".join(["registry-cache warm", self.image.name, *(f"--platform {each}" for each in platforms)])
        return ManifestUnknown(f"{what}: run {command}")


def _entries(found: Sequence[StoredImage]) -> list[LayoutEntry]:
    """Return what the archive's index says of its images.

    An image is called by its tag alone, as skopeo's users expect, unless another one in the archive has the same.
    """
    tags = Counter(each.image.reference for each in found)
    listed = []
    for each in found:
        reference = each.image.reference
        short = None
        if isinstance(reference, Tag):
            short = str(reference) if tags[reference] == 1 else each.image.name
        listed.append(LayoutEntry(each.top.media_type, each.top.digest, each.top.size, each.image.name, short))
    return listed
