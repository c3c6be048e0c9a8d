"""Memberships, manifests and tags in the bucket that several caches share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from registry_cache.errors import RegistryError
from registry_cache.oci import object_keys, signed_manifest
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import MAX_MANIFEST_SIZE
from registry_cache.oci.names import Tag
from registry_cache.pull.target import PullTarget
from registry_cache.runtime.log import Log
from registry_cache.store import record_format
from registry_cache.store.outbox import Outbox
from registry_cache.store.record_format import TagRecord
from registry_cache.upstream.bucket import BucketReader
from registry_cache.upstream.client import ManifestBody

# How long a client may take from the redirect to the bucket until it asks there; its download may last longer.
URL_SECONDS = 20 * 60

# Far more than a tag's record has.
_MAX_RECORD_SIZE = 16 * 1024

_T = TypeVar("_T")

_log = Log(__name__)


class BucketImages:
    """SharedImages: reads from ``bucket``, and leaves what it is told in ``outbox``."""

    is_shared = True

    def __init__(self, bucket: BucketReader, outbox: Outbox) -> None:
        self._bucket = bucket
        self._outbox = outbox

    def contains(self, target: PullTarget, digest: Digest) -> bool:
        key = object_keys.membership(target.name, digest)
        return _try(lambda: self._bucket.size(key)) is not None

    def blob_size(self, target: PullTarget, digest: Digest) -> int | None:
        if not self.contains(target, digest):
            return None
        return _try(lambda: self._bucket.size(object_keys.blob(digest)))

    def blob_url(self, target: PullTarget, digest: Digest) -> str | None:
        # An address that leads nowhere would fail the pull.
        if self.blob_size(target, digest) is None:
            return None
        return _try(lambda: self._bucket.signed_url(object_keys.blob(digest), URL_SECONDS))

    def manifest(self, target: PullTarget, digest: Digest) -> ManifestBody | None:
        key = object_keys.manifest(target.name, digest)
        found = _try(lambda: self._bucket.read(key, MAX_MANIFEST_SIZE))
        if found is None:
            return None
        if not signed_manifest.is_named(found.data, digest):
            _log.error("the bucket has a wrong manifest", digest=digest, repository=target.name.repository)
            _try(lambda: self._bucket.delete(key))
            return None
        return ManifestBody(found.data, found.media_type)

    def tag(self, target: PullTarget, tag: Tag) -> TagRecord | None:
        key = object_keys.tag(target.name, tag)
        found = _try(lambda: self._bucket.read(key, _MAX_RECORD_SIZE))
        return record_format.read_shared_tag(found.data) if found else None

    def add_membership(self, target: PullTarget, digest: Digest) -> None:
        self._outbox.add_blob(target.name, digest)

    def add_manifest(self, target: PullTarget, digest: Digest, media_type: str) -> None:
        self._outbox.add_manifest(target.name, digest, media_type)

    def add_tag(self, target: PullTarget, tag: Tag, record: TagRecord) -> None:
        self._outbox.add_tag(target.name, tag, record)


def _try(ask: Callable[[], _T]) -> _T | None:
    """Return what the bucket says; None where it does not."""
    try:
        return ask()
    except RegistryError as error:
        _log.debug("the bucket did not answer", error=error)
        return None
