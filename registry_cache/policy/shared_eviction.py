"""Decide what to evict from the bucket that several caches share. Pure.

An object's last use is when it was put or copied last: nodes hand on that they use it by copying it onto itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from registry_cache.oci import object_keys

# Evict down to this share of the size, as in a node's own store.
LOW_MARK = 0.95
# What was put more recently than this may be on its way to somebody, or have names that are still to come. What nodes
# use or have pinned they put again at least every day and a half.
YOUNG_SECONDS = 2 * 86_400.0

_MEMBERSHIPS = "/_blobs/"


@dataclass(frozen=True, slots=True)
class SharedObject:
    """An object: ``key`` without the bucket's prefix, ``size`` in bytes, ``used_at`` in seconds since the epoch."""

    key: str
    size: int
    used_at: float


@dataclass(frozen=True, slots=True)
class SharedPlan:
    """What goes: ``names``, which lead to the ``blobs``, before these. ``stored`` and ``evicted`` in bytes."""

    stored: int
    evicted: int = 0
    names: list[str] = field(default_factory=list)
    blobs: list[str] = field(default_factory=list)
    over: int = 0
    """Bytes over the size that must stay, because they are young."""


def plan(objects: Iterable[SharedObject], max_size: int, now: float) -> SharedPlan:
    """Return what to evict so that blobs take ``max_size`` bytes at most: those used longest ago."""
    blobs: list[SharedObject] = []
    members: dict[str, list[str]] = {}
    for each in objects:
        if each.key.startswith(object_keys.BLOBS):
            blobs.append(each)
        elif _MEMBERSHIPS in each.key:
            members.setdefault(_digest_of(each.key), []).append(each.key)
    stored = sum(blob.size for blob in blobs)
    if stored <= max_size:
        return SharedPlan(stored)
    evicted, keys = 0, []
    for blob in sorted(blobs, key=lambda blob: blob.used_at):
        if stored - evicted <= max_size * LOW_MARK or now - blob.used_at < YOUNG_SECONDS:
            break
        keys.append(blob.key)
        evicted += blob.size
    names = [name for key in keys for name in members.get(_digest_of(key), ())]
    return SharedPlan(stored, evicted, names, keys, max(0, stored - evicted - max_size))


def _digest_of(key: str) -> str:
    """Return the hexadecimal digits of the digest that a blob's or a membership's key ends with."""
    return key.rpartition("/")[2]
