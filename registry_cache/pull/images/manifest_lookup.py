"""What the manifests of a repository say of its blobs. A hint: upstream's answers and digests decide."""

from __future__ import annotations

from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.pull.target import PullTarget
from registry_cache.runtime.log import Log
from registry_cache.store.record_format import Child
from registry_cache.store.records import Records

_log = Log(__name__)


class Layers:
    """Looks into what the store holds; an image's manifest is there before anybody asks for its layers."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def size(self, target: PullTarget, digest: Digest) -> int | None:
        """Return how many bytes a manifest says that the blob has; None where none names it."""
        return next((child.size for child in self.image(target, digest) if child.digest == digest), None)

    def image(self, target: PullTarget, digest: Digest) -> list[Child]:
        """Return the blobs of an image that names ``digest``, in the manifest's order; [] where none does."""
        try:
            return self._records.siblings(target.name, digest)
        except StoreError as error:
            _log.debug("could not read manifests' records", repository=target.name.repository, error=error)
        return []
