"""What the leader of a download says of it, to readers in other processes: a small JSON file beside the partial."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

from registry_cache.errors import NameInvalid, RegistryError
from registry_cache.oci.names import FullName, Repository


@dataclass(frozen=True, slots=True)
class DownloadStatus:
    """What the leader says of its download. ``size`` in bytes, None while unknown; ``at``: seconds since the epoch.

    This download proves the access of its ``owner``; a reader from another repository must prove its own. Until
    upstream has ``answered``, nothing is proven. ``verified``: all ``size`` bytes are in the partial and match the
    digest, but may not be on the disk yet.
    """

    owner: FullName
    at: float
    size: int | None = None
    error: RegistryError | None = None
    answered: bool = True
    verified: bool = False


def failed_status(owner: FullName, error: RegistryError) -> DownloadStatus:
    """Return the status of a download that ended in ``error``, now."""
    return DownloadStatus(owner, time.time(), error=error)


def write_status(status: DownloadStatus) -> bytes:
    """Return ``status`` as its file has it."""
    record = {
        "upstream": status.owner.upstream,
        "repository": status.owner.repository,
        "at": status.at,
        "size": status.size,
        "answered": status.answered,
        "verified": status.verified,
        "failed": status.error.to_record() if status.error else None,
    }
    return json.dumps(record).encode()


def read_status(data: bytes) -> DownloadStatus | None:
    """Return the status that a file has; None for one that makes no sense, half of which may be another."""
    try:
        record = json.loads(data)
        failed = record["failed"]
        return DownloadStatus(
            owner=FullName(str(record["upstream"]), Repository.parse(str(record["repository"]))),
            at=float(record["at"]),
            size=None if record["size"] is None else int(record["size"]),
            error=RegistryError.from_record(failed) if isinstance(failed, Mapping) else None,
            answered=record.get("answered") is not False,
            verified=record.get("verified") is True,
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, NameInvalid):
        return None
