"""The store's records for pulls: a failing disk costs a later hit, never this pull (byte-safety rule 9)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Concatenate, ParamSpec, TypeVar

from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import Manifest
from registry_cache.oci.names import FullName, Tag
from registry_cache.policy.proof import Proof, needed_proof
from registry_cache.pull.target import PullTarget
from registry_cache.runtime.log import Log
from registry_cache.store.record_format import TagRecord
from registry_cache.store.records import Records, StoredManifest

_Arguments = ParamSpec("_Arguments")
_T = TypeVar("_T")

_log = Log(__name__)


class TolerantRecords:
    """Records whose readers get None, and whose writers do nothing, where the disk fails."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def tag(self, target: PullTarget, tag: Tag) -> TagRecord | None:
        return _try_to("read a tag; asking for it", target, self._records.tag, tag)

    def tags(self, target: PullTarget) -> list[str]:
        return _try_to("list tags", target, self._records.tags) or []

    def keep_tag(self, target: PullTarget, tag: Tag, record: TagRecord) -> None:
        _try_to("keep a tag", target, self._records.put_tag, tag, record)

    def confirm_tag(self, target: PullTarget, tag: Tag, now: datetime) -> None:
        self._records.touch_tag(target.name, tag, now)

    def forget_tag(self, target: PullTarget, tag: Tag) -> None:
        _try_to("forget a tag", target, self._records.forget_tag, tag)

    def manifest(self, target: PullTarget, digest: Digest) -> StoredManifest | None:
        return _try_to("read a manifest; fetching it", target, self._records.manifest, digest)

    def previous(self, target: PullTarget, record: TagRecord | None) -> StoredManifest | None:
        """Return what a tag meant before, where that is here; to be served when upstream does not answer."""
        return self.manifest(target, record.previous) if record and record.previous else None

    def keep_manifest(self, target: PullTarget, digest: Digest, data: bytes, manifest: Manifest) -> None:
        _try_to("keep a manifest", target, self._records.put_manifest, digest, data, manifest)

    def manifest_of_others(self, target: PullTarget, digest: Digest) -> bytes | None:
        """Return a manifest's bytes whichever repository of this upstream brought them.

        Whether this one may have them is to prove. Another upstream's are not returned: the proof would be the whole.
        """
        if needed_proof(self._records.brought_by(digest), target.upstream.name) is not Proof.WORD:
            return None
        return _try_to("read a manifest; fetching it", target, lambda *_: self._records.read_any(digest))

    def size_of_others(self, digest: Digest) -> int:
        """Return how many bytes are here of a manifest, whoever brought them; 0 for none."""
        try:
            return self._records.size_of(digest)
        except StoreError:
            return 0

    def referrers(self, target: PullTarget, digest: Digest) -> bytes | None:
        return _try_to("read referrers", target, self._records.referrers, digest)

    def has_content(self, target: PullTarget) -> bool:
        return bool(_try_to("look into a repository", target, self._records.has_content))

    def count_referrers(self, target: PullTarget) -> int:
        return _try_to("count referrers", target, self._records.count_referrers) or 0

    def keep_referrers(self, target: PullTarget, digest: Digest, document: bytes) -> None:
        _try_to("keep referrers", target, self._records.put_referrers, digest, document)

    def forget_referrers(self, target: PullTarget, digest: Digest) -> None:
        _try_to("forget referrers", target, self._records.forget_referrers, digest)


def _try_to(
    what: str,
    target: PullTarget,
    act: Callable[Concatenate[FullName, _Arguments], _T],
    *args: _Arguments.args,
    **options: _Arguments.kwargs,
) -> _T | None:
    try:
        return act(target.name, *args, **options)
    except StoreError as error:
        _log.debug(f"could not {what}", repository=target.name.repository, error=error, file=error.detail)
        return None
