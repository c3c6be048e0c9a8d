"""What is known of an upstream's HEADs: whether it answers them at all, and what tags meant when a GET last told.

Some registries refuse HEADs that they would answer as GETs (P72), others leave the digest out (P33). Asking by GET
instead costs a counted pull, so what one has told is remembered for a while.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Literal

from cachetools import LRUCache

from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import MAX_MANIFEST_SIZE
from registry_cache.oci.names import Reference, Repository
from registry_cache.runtime.log import Log

_log = Log(__name__)

Kind = Literal["manifests", "blobs"]

# How long an upstream is not asked by HEADs that it has refused and would answer as GETs.
USELESS_SECONDS = 3600.0
# The same where it answered by a 5xx: that may have been a moment's trouble, and each GET may be a counted pull.
TROUBLED_SECONDS = 60.0
# How long a tag is believed to mean what a GET has said, where no HEAD tells: a counted pull a minute at most.
TAG_SECONDS = 60.0

# An index of nothing; an image's manifest, with a digest in it, is four times as long.
MIN_MANIFEST_SIZE = len('{"schemaVersion":2,"manifests":[]}')

_MAX_REMEMBERED = 4096

_COMPRESSED = re.compile("[-;]+(?:gzip|br|zstd|deflate)$")


@dataclass(frozen=True, slots=True)
class SeenTag:
    """What a GET said of a tag, by the monotonic clock ``at`` that time; ``etag`` "" where there was none.

    ``tells_moves``: a HEAD has had the same ETag, and no other ETag since then that meant the same manifest.
    """

    digest: Digest
    etag: str
    at: float
    tells_moves: bool = False


class HeadMemory:
    """Bounded, and safe to share between threads."""

    def __init__(self, upstream: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        """``upstream`` is the name for the log."""
        self._upstream = upstream
        self._clock = clock
        self._mutex = threading.Lock()
        self._refused: LRUCache[Hashable, float] = LRUCache(_MAX_REMEMBERED)
        self._tags: LRUCache[tuple[Repository, Reference], SeenTag] = LRUCache(_MAX_REMEMBERED)
        self._etags: LRUCache[tuple[Repository, Reference], str] = LRUCache(_MAX_REMEMBERED)
        self._vain: LRUCache[tuple[Repository, Reference], Digest] = LRUCache(_MAX_REMEMBERED)
        self._useless_until: dict[Kind, float] = {}
        self._lengths_wrong_until = 0.0

    def are_useless(self, kind: Kind) -> bool:
        """Whether to ask by GET at once."""
        return self._clock() < self._useless_until.get(kind, 0.0)

    def record_refusal(self, kind: Kind, what: Hashable, *, is_trouble: bool = False) -> None:
        """A HEAD for ``what`` was refused, by a 5xx if ``is_trouble``; whether that says anything, a GET tells."""
        with self._mutex:
            self._refused[kind, what] = TROUBLED_SECONDS if is_trouble else USELESS_SECONDS

    def was_refused(self, kind: Kind, what: Hashable) -> bool:
        """Whether a HEAD for ``what`` was refused, and no GET has been answered since."""
        return (kind, what) in self._refused

    def record_get(self, kind: Kind, what: Hashable) -> None:
        """A GET for ``what`` was answered: if its HEAD was refused, HEADs are useless."""
        with self._mutex:
            seconds = self._refused.pop((kind, what), None)
            if seconds is None:
                return
            self._useless_until[kind] = self._clock() + seconds
        _log.info("asking by GET: HEADs are refused", upstream=self._upstream, kind=kind, seconds=seconds)

    def record_length(self, said: int, was: int) -> None:
        """A HEAD has ``said`` how many bytes a manifest has, which it ``was`` then."""
        if said != was:
            self._lengths_wrong_until = self._clock() + USELESS_SECONDS

    def plausible_length(self, said: int | None, etag: str) -> int | None:
        """Return how many bytes a HEAD has ``said`` that a manifest has; None where that may be of something else.

        The ETag of a body that was compressed on its way, or would be, says so.
        """
        if said is None or not MIN_MANIFEST_SIZE <= said <= MAX_MANIFEST_SIZE:
            return None
        is_compressed = _comparable(etag) != etag.strip().removeprefix("W/").strip('"')
        return None if is_compressed or self._clock() < self._lengths_wrong_until else said

    def record_etag(self, repository: Repository, reference: Reference, etag: str) -> None:
        """A HEAD for ``reference`` had this ETag."""
        with self._mutex:
            self._etags[repository, reference] = _comparable(etag)

    def record_tag(self, repository: Repository, reference: Reference, digest: Digest, etag: str) -> None:
        """A GET has told what ``reference`` means."""
        etag, key = _comparable(etag), (repository, reference)
        with self._mutex:
            before = self._tags.get(key)
            is_of_head = bool(etag) and etag == self._etags.get(key)
            was_same = before is not None and before.digest == digest and before.etag != etag
            self._tags[key] = SeenTag(digest, etag, self._clock(), tells_moves=is_of_head and not was_same)

    def record_vain_claim(self, repository: Repository, reference: Reference, claimed: Digest) -> None:
        """A HEAD has ``claimed`` a digest for ``reference`` under which there is nothing, and a GET brought another."""
        with self._mutex:
            self._vain[repository, reference] = claimed

    def unless_vain(self, repository: Repository, reference: Reference, claimed: Digest | None) -> Digest | None:
        """Return the digest that a HEAD has ``claimed``, unless it is known to name nothing."""
        with self._mutex:
            return claimed if claimed != self._vain.get((repository, reference)) else None

    def digest_of(self, repository: Repository, reference: Reference, etag: str) -> Digest | None:
        """Return what ``reference`` means by its ``etag``, or by a GET of less than a minute ago; None if unknown.

        Another ``etag`` than that GET's is a move at once, if this registry's ETags tell moves.
        """
        with self._mutex:
            seen = self._tags.get((repository, reference))
        if seen is None:
            return None
        etag = _comparable(etag)
        if etag and etag == seen.etag:
            return seen.digest
        has_moved = bool(etag) and seen.tells_moves
        return seen.digest if not has_moved and self._clock() - seen.at < TAG_SECONDS else None


def _comparable(etag: str) -> str:
    """Return an ETag without what a server that compresses puts around it."""
    return _COMPRESSED.sub("", etag.strip().removeprefix("W/").strip('"'))
