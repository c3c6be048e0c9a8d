"""Since when the bucket accepts nothing, for ``registry-cache status``: written by the process that sends to it.

    <root>/bucket-away.json       since when, and why; not there while the bucket accepts what it is sent

Losing it costs a line of a report. A file that cannot be read is treated as missing.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from registry_cache.errors import StoreError
from registry_cache.runtime.log import Log
from registry_cache.store import disk
from registry_cache.store.atomic_write import write_whole
from registry_cache.store.layout import Layout

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class BucketTrouble:
    """The bucket has accepted nothing since ``since``, in seconds since the epoch; ``cause`` is the last reason."""

    since: float
    cause: str


class BucketNote:
    """The note of one store. If the disk fails, that is only logged."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.bucket_away

    def write(self, cause: str) -> None:
        """Note that it accepts nothing; the time of the first such note stays."""
        before = self.read()
        if before and before.cause == cause:
            return
        note = {"since": before.since if before else time.time(), "cause": cause}
        try:
            with disk.store_errors("note that the bucket is away"):
                write_whole(self._path, json.dumps(note).encode())
        except StoreError as error:
            _log.warning("could not note the state of the bucket", error=error)

    def clear(self) -> None:
        """Note that it accepts what it is sent again."""
        try:
            with disk.store_errors("note that the bucket is back"):
                disk.remove(self._path)
        except StoreError as error:
            _log.warning("could not note the state of the bucket", error=error)

    def read(self) -> BucketTrouble | None:
        """Return what was noted last; None while it accepts what it is sent."""
        try:
            note = json.loads(disk.read_whole(self._path) or b"{}")
            return BucketTrouble(float(note["since"]), str(note["cause"]))
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None
