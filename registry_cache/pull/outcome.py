"""The outcome word of a request: in ``X-Cache``, in the log line and in the metrics."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """HIT: from the disk, upstream not asked for the bytes. JOIN: from a download that somebody else started.
    NEAR: from another node of the cluster, or the bucket; upstream sent none of them.

    MISS: fetched for this request. REVALIDATED: upstream said that the tag still means what is here. STALE: upstream
    did not answer; this is what we have.
    """

    HIT = "hit"
    JOIN = "join"
    NEAR = "near"
    MISS = "miss"
    REVALIDATED = "revalidated"
    STALE = "stale"
