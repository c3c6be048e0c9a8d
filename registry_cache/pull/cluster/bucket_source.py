"""A blob from the bucket that several caches share, and from upstream whatever the bucket does not bring.

The first request of a transfer goes to the bucket, if a node has noted there that the repository contains the blob;
then it proves the access, too. Where the bucket breaks off, whoever can go on behind the last byte does.
"""

from __future__ import annotations

from dataclasses import replace

from registry_cache.errors import RegistryError, UpstreamTimeout, UpstreamUnavailable
from registry_cache.oci import object_keys
from registry_cache.pull.source import BlobSource, RangeResponse, SourceOf, WantedBlob, WatchedBody, source_of
from registry_cache.runtime.log import Log
from registry_cache.store.outbox import Outbox
from registry_cache.upstream.bucket import BucketReader

_log = Log(__name__)


class BucketFirst:
    """Makes sources that try ``bucket`` before those of ``then``; what upstream had to bring goes into ``outbox``."""

    def __init__(self, bucket: BucketReader, outbox: Outbox, then: SourceOf = source_of) -> None:
        self._bucket = bucket
        self._outbox = outbox
        self._then = then

    def __call__(self, wanted: WantedBlob) -> BlobSource:
        then = self._then(wanted)
        reader = _BlobReader(self._bucket, wanted, then)

        def commit() -> None:
            if reader.needs_sending:
                self._outbox.add_blob(wanted.target.name, wanted.digest)
            then.on_commit()

        return replace(
            then,
            open=reader.open,
            was_near=lambda: reader.was_near or then.was_near(),
            on_wrong=reader.on_wrong,
            on_commit=commit,
        )


class _BlobReader:
    """The requests of one transfer. ``was_near``: the bucket gave the first answer."""

    def __init__(self, bucket: BucketReader, wanted: WantedBlob, then: BlobSource) -> None:
        self._bucket = bucket
        self._digest = wanted.digest
        self._key = object_keys.blob(wanted.digest)
        self._membership = object_keys.membership(wanted.target.name, wanted.digest)
        self._then = then
        self._is_for_parts = wanted.is_for_parts
        self._asked = False
        # None: not asked yet.
        self._is_member: bool | None = None
        # Bytes that each has brought since the bytes began.
        self._near = self._far = 0
        # Of the bucket's last answer: one that brings none is not asked for again before upstream was.
        self._brought = 0
        self._is_wrong = False
        self._asked_upstream = False
        self.was_near = False

    @property
    def needs_sending(self) -> bool:
        """Whether upstream had to be asked. What another node brought it sends itself."""
        return self._asked_upstream

    def open(self, start: int, again: bool, stop: int | None = None) -> RangeResponse:
        """Ask for the bytes from ``start`` on, as AskForRange says.

        Unless it is asked for parts, the bucket goes on to the blob's end: one request, since each costs money.
        """
        is_first, self._asked = not self._asked, True
        tried = self._is_for_parts or is_first or self._brought > 0
        if tried and (body := self._from_bucket(start, stop if self._is_for_parts else None)):
            self.was_near = self.was_near or is_first
            return body
        self._asked_upstream = True
        try:
            return WatchedBody(self._then.open(start, again, stop), self._count_far)
        except (UpstreamUnavailable, UpstreamTimeout):
            # A registry that is away, while the bucket only stuttered.
            if not tried and self._near and (body := self._from_bucket(start, None)):
                return body
            raise

    def on_wrong(self, came_from_here: bool) -> bool:
        """Delete what is wrong in the bucket, and ask it no more; return whether upstream may be to blame."""
        near, far = self._near, self._far
        self._near = self._far = self._brought = 0
        if not near:
            return self._then.on_wrong(came_from_here)
        self._is_wrong = True
        if not far and came_from_here:
            # Of bytes from two places nobody knows which were wrong. The next transfer begins with the bucket's alone.
            self._delete()
        return False

    def _from_bucket(self, start: int, stop: int | None) -> RangeResponse | None:
        """Return what the bucket has from ``start`` on; None where that is nothing, or not for this repository."""
        self._brought = 0
        if self._is_wrong:
            return None
        try:
            if self._is_member is None:
                self._is_member = self._bucket.size(self._membership) is not None
            body = self._bucket.open(self._key, self._digest, start, stop) if self._is_member else None
        except RegistryError as error:
            _log.debug("the bucket did not bring a blob", digest=self._digest, error=error)
            return None
        return WatchedBody(body, self._count_near) if body else None

    def _delete(self) -> None:
        try:
            self._bucket.delete(self._key)
        except RegistryError as error:
            _log.warning("could not delete wrong bytes from the bucket", digest=self._digest, error=error)

    def _count_near(self, size: int) -> None:
        self._near += size
        self._brought += size

    def _count_far(self, size: int) -> None:
        self._far += size
