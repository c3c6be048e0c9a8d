"""Pull an image before its clients do, in the way that they would.

Through the same locks and flights, so a warm beside a server and its clients downloads nothing twice, and one that is
stopped leaves partials that the next pull goes on with. What is fetched is read by nobody here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from registry_cache.errors import BlobUnknown, StoreError
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import Descriptor
from registry_cache.oci.platform import Platform
from registry_cache.pull.blob import BlobPull
from registry_cache.pull.blob_body import Cut
from registry_cache.pull.images.attestations import add_attestations
from registry_cache.pull.images.closure import Image, Parts, collect, is_foreign, refuse_missing
from registry_cache.pull.images.worker_pool import side_by_side
from registry_cache.pull.listing import Listing
from registry_cache.pull.manifest import ManifestPull
from registry_cache.pull.outcome import Outcome
from registry_cache.store.partial_downloads import Partials
from registry_cache.store.records import Records, StoredManifest

# Blobs at a time: one waits for its answer while others fill the line. A registry may take many more for abuse.
THREADS = 4

# How long a transfer may take to remove its status and its lock. The next cleanup finds what it leaves.
LOCK_TIMEOUT_SECONDS = 5.0
_POLL = 0.005

# ``progress(done, total)`` in bytes of what has to be fetched, several times a second.
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Warmed:
    """An image that is here now. ``fetched`` of its ``blobs``, ``bytes`` together, were fetched for this.

    ``joined`` were being fetched by others already. ``stale``: why upstream could not say whether the tag has moved.
    """

    name: str
    digest: Digest
    platforms: list[Platform]
    blobs: int
    fetched: int = 0
    joined: int = 0
    bytes: int = 0
    stale: str | None = None


class Warm:
    """Brings images here. ``threads`` blobs at once."""

    def __init__(
        self,
        manifests: ManifestPull,
        blobs: BlobPull,
        records: Records,
        partials: Partials,
        listing: Listing,
        threads: int = THREADS,
    ) -> None:
        self._manifests = manifests
        self._listing = listing
        self._blobs = blobs
        self._records = records
        self._partials = partials
        self._threads = threads

    def image(self, image: Image, wanted: Sequence[Platform], progress: Progress = lambda done, total: None) -> Warmed:
        """Return when the image is here for the ``wanted`` platforms, all of its index where none is named.

        Raises what a pull of it would raise; ManifestUnknown where it has no such platform, after the others are here;
        StoreError where the disk does not keep it.
        """
        answer = self._manifests.get(image.target, image.reference)
        top = self._require_stored(image, StoredManifest(answer.digest, answer.media_type, answer.data or b""))
        get, referrers = partial(self._manifest, image), partial(self._referrers, image)
        parts = collect(top, wanted, get)
        add_attestations(parts, top, get, referrers)
        result = Warmed(image.name, top.digest, parts.platforms, len(parts.blobs), stale=answer.reason)
        self._fetch(image, parts, result, progress)
        refuse_missing(image.name, parts, wanted)
        return result

    def _manifest(self, image: Image, digest: Digest) -> StoredManifest:
        answer = self._manifests.get(image.target, digest)
        return self._require_stored(image, StoredManifest(digest, answer.media_type, answer.data or b""))

    def _referrers(self, image: Image, digest: Digest) -> list[dict[str, object]]:
        return self._listing.referrers(image.target, digest).manifests

    def _require_stored(self, image: Image, manifest: StoredManifest) -> StoredManifest:
        """Return ``manifest`` if it is on the disk: a pull may succeed without that, but a warm must not."""
        if self._records.manifest(image.target.name, manifest.digest) is None:
            raise _not_stored(manifest.digest)
        return manifest

    def _fetch(self, image: Image, parts: Parts, result: Warmed, progress: Progress) -> None:
        blobs = list(parts.blobs.values())
        arrivals = _Arrivals(self._partials, blobs)
        for blob, outcome in side_by_side(
            lambda blob: self._blob(image, blob),
            blobs,
            self._threads,
            lambda: progress(arrivals.done(), arrivals.total),
        ):
            arrivals.finish(blob, here_before=outcome in (Outcome.HIT, None))
            result.blobs -= outcome is None
            result.joined += outcome is Outcome.JOIN
            if outcome is Outcome.MISS:
                result.fetched += 1
                result.bytes += self._records.size_of(blob.digest) if blob.size is None else blob.size

    def _blob(self, image: Image, blob: Descriptor) -> Outcome | None:
        """Bring one blob here and return how; None for one that its registry may do without, and does."""
        try:
            answer = self._blobs.get(image.target, blob.digest)
        except BlobUnknown:
            if is_foreign(blob):
                return None
            raise
        try:
            answer.body.wait_until_stored()
        except Cut as cut:
            raise cut.error from cut
        finally:
            answer.body.close()
            if not answer.body.stored:
                self._wait_for_lock(blob.digest)
        return answer.outcome

    def _wait_for_lock(self, digest: Digest) -> None:
        """Return when the transfer has released its lock: it announces its end earlier, and ends with this process."""
        deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            claim = self._partials.claim(digest)
            if claim:
                with claim:
                    return
            time.sleep(_POLL)


@dataclass(slots=True)
class _Arrivals:
    """How many bytes of some blobs are here: of the finished ones, and what partials say of the others."""

    partials: Partials
    blobs: Sequence[Descriptor]
    total: int = 0
    _here: dict[Digest, int] = field(default_factory=dict)
    _ended: set[Digest] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.total = sum(_told(blob) for blob in self.blobs)

    def finish(self, blob: Descriptor, here_before: bool) -> None:
        """Count the whole of ``blob``, or no more at all where there was nothing to fetch."""
        self._ended.add(blob.digest)
        self._here[blob.digest] = 0 if here_before else _told(blob)
        self.total -= _told(blob) if here_before else 0

    def done(self) -> int:
        """Look at the partials, and return how many bytes there are of all."""
        for blob in self.blobs:
            if blob.digest not in self._ended:
                file = self.partials.open(blob.digest)
                # One that was committed a moment ago has no partial any more, and no fewer bytes.
                known = self._here.get(blob.digest, 0)
                self._here[blob.digest] = max(known, min(_told(blob), file.size())) if file else known
        return sum(self._here.values())


def _told(blob: Descriptor) -> int:
    """Return the bytes of a blob as its manifest tells them; nothing where it does not, and no progress is shown."""
    return blob.size or 0


def _not_stored(digest: Digest) -> StoreError:
    return StoreError(f"the disk did not keep {digest}: registry-cache check tells what is wrong with it")
