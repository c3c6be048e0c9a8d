"""Decide what may and must be evicted: least recently used first.

There are two reasons: nothing has used it for longer than ``ttl``; or the store is larger than ``max_size`` or the disk
has less free than ``min_free``, and it is among the least recently used. Both come down to one mark in time: what was
last used before it is evicted. A manifest's use counts as its children's, so whole images go in order of use, and a
shared layer with the last of its images.

Moments are nanoseconds since the epoch, as in file systems: floats would separate an image from its own layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

SECOND = 10**9
HOUR = 3600 * SECOND

# A cleanup goes down to this share of ``max_size``, so that the next pull does not start the next cleanup.
LOW_MARK = 0.95

# What was used a moment ago stays: workers that follow another's download learn of its commit by looking for the blob.
SETTLE = 5 * SECOND

# A use that is further ahead than this was noted while the clock was wrong, by a zone at least.
AHEAD = 24 * HOUR
# More than any moment that a file system knows.
_ERA = 1 << 64

# Sorts after every digest.
_LAST = "~"

_Key = TypeVar("_Key", bound=Any)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the operator allows, None for no bound: ``ttl`` since the last use, the others in bytes.

    ``blob_percent``: how much of the store one blob may take. ``reserved``: how many bytes of an upstream's content
    stay, by its name, when room is made for others.
    """

    ttl: timedelta | None = None
    max_size: int | None = None
    min_free: int | None = None
    blob_percent: int = 50
    reserved: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """How far an eviction goes: what was last used before ``moment``, or at it and has a digest up to ``hex``."""

    moment: int
    hex: str = _LAST

    def covers(self, used: int, hex: str) -> bool:
        """Tell whether to evict what was last ``used`` then; ``hex`` is its digest's."""
        return used < self.moment or (used == self.moment and hex <= self.hex)

    @classmethod
    def within(cls, moment: int, letters: str) -> Mark:
        """Return the mark after the digests of ``moment`` that begin with ``letters``."""
        return cls(moment, letters + _LAST)


# Evicts nothing, not even a dangling link, whose last use is -1.
NOTHING = Mark(-2)


def expired(now: int, bounds: Bounds) -> Mark:
    """Return how far ``ttl`` goes."""
    return NOTHING if bounds.ttl is None else spare_recent(Mark(now - int(bounds.ttl.total_seconds() * SECOND)), now)


def in_order(used: int, now: int) -> int:
    """Return ``used`` as uses are compared when room must be made: one far ahead of ``now`` was before all others.

    It was noted by another clock, before ours was put right, and would otherwise be the last to go for years: a store
    that was filled then could not be held to its size.
    """
    return used - _ERA if used > now + AHEAD else used


def spare_recent(mark: Mark, now: int) -> Mark:
    """Return ``mark``, or an earlier one that spares what was just used."""
    return min(mark, Mark(now - SETTLE))


def excess(stored: int, free: int, bounds: Bounds) -> int:
    """Return how many bytes must go where ``stored`` are here and ``free`` are left on the disk; 0 for none."""
    over = under = 0
    if bounds.max_size is not None and stored > bounds.max_size:
        over = stored - int(bounds.max_size * LOW_MARK)
    if bounds.min_free is not None and free < bounds.min_free:
        under = int(bounds.min_free / LOW_MARK) - free
    return max(over, under)


def is_due(stored: int | None, free: int, bounds: Bounds) -> bool:
    """Tell whether a cleanup must make room: over a bound, or ``max_size`` is set and nobody has counted yet."""
    return (stored is None and bounds.max_size is not None) or excess(stored or 0, free, bounds) > 0


def largest_blob(stored: int | None, free: int, bounds: Bounds) -> int | None:
    """Return how many bytes one blob may take; None for any number.

    Without this, whoever can have one huge blob pulled could have everything of everybody evicted for it. ``stored`` is
    None where nobody has counted yet.
    """
    sizes = [] if bounds.max_size is None else [bounds.max_size]
    if bounds.min_free is not None and stored is not None:
        sizes.append(max(0, stored + free - bounds.min_free))
    return min(sizes) * bounds.blob_percent // 100 if sizes else None


def emergency(size: int, stored: int, free: int, total: int, blob_percent: int = 50) -> int:
    """Return how many bytes to free on a full disk of ``total`` bytes that refused a blob after ``size`` bytes.

    A share of the disk more than these take, for what is still to come. A blob that takes more than its share of what
    the cache could ever hold is not worth evicting all others.
    """
    room = int(total * (1 - LOW_MARK))
    return room + size if size <= (stored + free) * blob_percent // 100 else room


def newest(blobs: Iterable[tuple[int, int, _Key]], size: int) -> set[_Key]:
    """Return the keys of those used last, as many as fit into ``size`` bytes; ``blobs`` as (used, bytes, key)."""
    kept: set[_Key] = set()
    for _, bytes_, key in sorted(blobs, reverse=True):
        if bytes_ <= size:
            size -= bytes_
            kept.add(key)
    return kept


def boundary(sizes: Mapping[_Key, int], need: int) -> tuple[_Key, int] | None:
    """Return the key at which the sizes, added up from the least key, reach ``need``, and how much of it falls there.

    None if all of them together are less.
    """
    for key in sorted(sizes):
        if sizes[key] >= need:
            return key, need
        need -= sizes[key]
    return None


def must_split(group: int, need: int, stored: int) -> bool:
    """Tell whether ``group`` bytes of one moment are too many to evict together when ``need`` of them must go.

    The files of one image have one moment and go together. A store that was copied may have one moment throughout, and
    must not be emptied because it is a little too large.
    """
    return group - need > stored // 2
