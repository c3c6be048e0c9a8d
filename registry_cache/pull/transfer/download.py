"""The download of one blob: what its leader does, from the claim to the commit.

After a cut, a stall or a 5xx it goes on behind the last byte; wrong bytes are fetched once more and then reported.
Bytes are only appended, in order; the digest decides what is whole, never a length that somebody claims.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from typing import Protocol

from registry_cache.errors import UpstreamCorrupt, UpstreamTimeout
from registry_cache.oci.digest import Digest
from registry_cache.pull.cluster.download import BytesWereWrong
from registry_cache.pull.resume import ResumingFetch
from registry_cache.pull.source import BlobSource, RangeResponse, Tries
from registry_cache.pull.transfer.parallel_ranges import ParallelRanges, PartBudget
from registry_cache.runtime.log import Log
from registry_cache.store.partial_downloads import Partial

# A blob whose bytes were wrong is fetched once more.
MAX_CORRUPT = 2

# A transfer under this many bytes a second, over this many seconds, is dropped and resumed: a half-dead connection
# may trickle for hours where a new one is fast.
MIN_BYTES_PER_SECOND = 1024
SPEED_WINDOW_SECONDS = 30.0

_log = Log(__name__)


class Observer(Protocol):
    """What hears how a download goes; all calls come from its thread. What it raises ends the download."""

    def on_bytes(self, partial: Partial, size: int | None) -> None:
        """The partial has new bytes, or upstream's answer has told its whole ``size``."""

    def on_verified(self, partial: Partial) -> None:
        """The partial is whole and right; what follows is its commit."""

    def on_wrong(self) -> bool:
        """The bytes so far are wrong, and about to go. Return whether all of them came from upstream."""

    def on_restart(self) -> bool:
        """What was read so far was wrong; a new partial begins. Return whether others had brought some of it."""


class Download:
    """Fetches one blob into its partial. ``pause`` and ``clock`` are time.sleep and time.monotonic, but in tests."""

    def __init__(
        self,
        digest: Digest,
        source: BlobSource,
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        ahead: PartBudget | None = None,
    ) -> None:
        self.digest = digest
        self.source = source
        self.split = ParallelRanges(digest, source, ahead or PartBudget(), clock)
        self.observer = observer
        self.tries = Tries(clock, pause)
        self._corrupt = 0

    def run(self, open_partial: Callable[[], AbstractContextManager[Partial]]) -> None:
        """Return when the blob is committed. ``open_partial`` opens the claim's partial, again after a wrong one.

        Raises UpstreamError and its kinds, NotFound, Denied, TooManyRequests, StoreError, StoreFull.
        """
        while True:
            with open_partial() as partial:
                inherited = partial.size > 0
                try:
                    self._fill(partial)
                except BytesWereWrong as error:
                    _log.warning("beginning a download anew", digest=self.digest, error=error)
                    partial.discard()
                    self.observer.on_restart()
                    continue
                if partial.digest() == self.digest:
                    self.observer.on_verified(partial)
                    partial.commit(self.source.owner.upstream)
                    return
                self._discard_wrong(partial, inherited)

    def _fill(self, partial: Partial) -> None:
        """Append until upstream says that this was all, or the digest is right."""
        with closing(_FetchIntoPartial(self, partial)) as fetch:
            for chunk in fetch:
                partial.append(chunk)
                self.observer.on_bytes(partial, fetch.size)
                # A fast upstream never makes this thread wait, and under gevent nobody else would run.
                time.sleep(0)

    def _discard_wrong(self, partial: Partial, inherited: bool) -> None:
        found = partial.digest()
        only_upstream = self.observer.on_wrong()
        partial.discard()
        inherited |= self.observer.on_restart()
        is_upstreams = self.source.on_wrong(only_upstream and not inherited)
        # The wrong bytes may be those that another leader left; these do not count against this upstream.
        self._corrupt += is_upstreams and only_upstream and not inherited
        _log.error(
            "upstream sent wrong bytes" if is_upstreams else "the bucket has wrong bytes",
            upstream=self.source.owner.upstream,
            repository=self.source.owner.repository,
            digest=self.digest,
            found=found,
            bytes=partial.size,
        )
        if self._corrupt >= MAX_CORRUPT:
            raise UpstreamCorrupt(
                f"{self.source.owner.upstream} sent bytes that are not the blob: asked for {self.digest}, got {found}",
                detail={"wanted": str(self.digest), "found": str(found)},
            )


class _FetchIntoPartial(ResumingFetch):
    """The requests that fill one partial. Upstream is asked even for no byte: its answer proves our access."""

    def __init__(self, download: Download, partial: Partial) -> None:
        super().__init__(download.digest, download.split.open, partial.size, tries=download.tries)
        self._download = download
        self._partial = partial

    def answered(self) -> None:
        self._download.observer.on_bytes(self._partial, self.size)

    def is_whole(self) -> bool:
        return self._partial.digest() == self._digest

    def watch(self, body: RangeResponse) -> Iterator[bytes]:
        """Yield the chunks of ``body``; UpstreamTimeout where they come too slowly."""
        began, arrived = self._tries.clock(), 0
        for chunk in body:
            yield chunk
            arrived += len(chunk)
            spent = self._tries.clock() - began
            if spent > SPEED_WINDOW_SECONDS:
                if arrived < MIN_BYTES_PER_SECOND * spent:
                    upstream = self._download.source.owner.upstream
                    raise UpstreamTimeout(f"{upstream} sent {arrived} bytes in {spent:.0f} s; asking again")
                began, arrived = self._tries.clock(), 0
