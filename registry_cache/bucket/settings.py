"""What a process needs to write to the bucket, as values that fit into one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

# Told of each request: the operation, the status or None without an answer, and bytes that were written.
Count = Callable[[str, int | None, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketSettings:
    """A bucket and how to write to it. ``part_size`` in bytes. ``secret_key`` and ``session_token`` are in no repr.

    ``prefix`` comes before every key. None stands for what the object store, or AWS' tools, choose by themselves.
    """

    endpoint_url: str
    region: str
    name: str
    prefix: str
    is_path_style: bool = True
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    is_verified: bool = True
    encryption: str | None = None
    """``AES256`` or ``aws:kms``."""
    encryption_key: str | None = None
    storage_class: str | None = None
    acl: str | None = None
    part_size: int = 64 * 1024 * 1024
    user_agent: str | None = None


def dump(settings: BucketSettings, **more: object) -> str:
    """Return one line with the settings and ``more``, for a pipe; it holds secrets, and belongs on no command line."""
    return json.dumps({"bucket": asdict(settings), **more})


def load(line: str) -> tuple[BucketSettings, dict[str, object]]:
    """Return what ``dump`` was given."""
    found = json.loads(line)
    return BucketSettings(**found.pop("bucket")), found
