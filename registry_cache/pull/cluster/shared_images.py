"""What several caches share of images beside the bytes of blobs: memberships, manifests, tags."""

from __future__ import annotations

from typing import Protocol

from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Tag
from registry_cache.pull.target import PullTarget
from registry_cache.store.record_format import TagRecord
from registry_cache.upstream.client import ManifestBody


class SharedImages(Protocol):
    """Answers in bounded time and raises nothing: what is shared saves work, and nobody depends on it."""

    @property
    def is_shared(self) -> bool:
        """Whether anything is shared at all."""

    def contains(self, target: PullTarget, digest: Digest) -> bool:
        """Return whether another node has found out that the repository contains the blob."""

    def blob_size(self, target: PullTarget, digest: Digest) -> int | None:
        """Return the size in bytes of a blob that the repository contains; None where that is not known."""

    def blob_url(self, target: PullTarget, digest: Digest) -> str | None:
        """Return where a client can read a blob that the repository contains; None where it is not to be had."""

    def manifest(self, target: PullTarget, digest: Digest) -> ManifestBody | None:
        """Return a manifest of the repository; its bytes are what ``digest`` names."""

    def tag(self, target: PullTarget, tag: Tag) -> TagRecord | None:
        """Return what the tag meant when a node last asked upstream."""

    def add_membership(self, target: PullTarget, digest: Digest) -> None:
        """Tell others that the repository contains a blob."""

    def add_manifest(self, target: PullTarget, digest: Digest, media_type: str) -> None:
        """Give others a manifest that is in the store."""

    def add_tag(self, target: PullTarget, tag: Tag, record: TagRecord) -> None:
        """Tell others what upstream has said of a tag."""


class _Nothing:
    """One cache alone."""

    is_shared = False

    def contains(self, target: PullTarget, digest: Digest) -> bool:
        return False

    def blob_size(self, target: PullTarget, digest: Digest) -> int | None:
        return None

    def blob_url(self, target: PullTarget, digest: Digest) -> str | None:
        return None

    def manifest(self, target: PullTarget, digest: Digest) -> ManifestBody | None:
        return None

    def tag(self, target: PullTarget, tag: Tag) -> TagRecord | None:
        return None

    def add_membership(self, target: PullTarget, digest: Digest) -> None:
        pass

    def add_manifest(self, target: PullTarget, digest: Digest, media_type: str) -> None:
        pass

    def add_tag(self, target: PullTarget, tag: Tag, record: TagRecord) -> None:
        pass


NOTHING_SHARED: SharedImages = _Nothing()
