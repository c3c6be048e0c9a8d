"""What a bucket says of one object when it lists them. No boto3 here, so that a cleanup can be tested without."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object: ``key`` without the bucket's prefix, ``size`` in bytes, and when it was put or copied last."""

    key: str
    size: int
    modified: datetime
