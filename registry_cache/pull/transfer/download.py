"""The download of one blob: what its leader does, from the claim to the commit.

Cuts, stalls and 5xx are mended by going on behind the last byte; wrong bytes are fetched once more and then reported.
Bytes are only appended, in order; the digest decides what is whole, never a length that somebody claims.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from registry_cache.errors import UpstreamCorrupt, UpstreamDown, UpstreamTimeout, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.pull.source import Body, Source, Tries
from registry_cache.pull.transfer.parallel_ranges import Room, Split
from registry_cache.runtime.log import Log
from registry_cache.store.partials import Partial

# A blob whose bytes were wrong is fetched once more.
MAX_CORRUPT = 2

# A transfer under this many bytes a second, over this many seconds, is dropped and resumed: a half-dead connection
# may trickle for hours where a new one is fast.
MIN_SPEED = 1024
SPEED_WINDOW = 30.0

_log = Log(__name__)


class Observer(Protocol):
    """Who is told how a download comes along; all calls come from its thread."""

    def grown(self, partial: Partial, size: int | None) -> None:
        """The partial has new bytes, or upstream's answer has told its whole ``size``."""

    def verified(self, partial: Partial) -> None:
        """The partial is whole and right; what follows is its commit."""

    def restarted(self) -> None:
        """What was read so far was wrong; a new partial begins."""


class Download:
    """Fetches one blob into its partial. ``pause`` and ``clock`` are time.sleep and time.monotonic, but in tests."""

    def __init__(
        self,
        digest: Digest,
        source: Source,
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        ahead: Room | None = None,
    ) -> None:
        self._digest = digest
        self._source = source
        self._split = Split(digest, source, ahead or Room(), clock)
        self._observer = observer
        self._tries = Tries(clock, pause)
        self._corrupt = 0

    def run(self, open_partial: Callable[[], AbstractContextManager[Partial]]) -> None:
        """Return when the blob is committed. ``open_partial`` opens the claim's partial, again after a wrong one.

        Raises UpstreamError and its kinds, NotFound, Denied, TooManyRequests, StoreError, StoreFull.
        """
        while True:
            with open_partial() as partial:
                inherited = partial.size > 0
                self._fill(partial)
                if partial.digest() == self._digest:
                    self._observer.verified(partial)
                    partial.commit()
                    return
                self._wrong(partial, inherited)

    def _fill(self, partial: Partial) -> None:
        """Append until upstream says that this was all, or the digest is right."""
        while True:
            before = partial.size
            try:
                self._try(partial)
            except (UpstreamUnavailable, UpstreamTimeout) as error:
                if isinstance(error, UpstreamDown) and not partial.size:
                    # Known to fail before we began, and nobody has a byte that would be worth the wait.
                    raise
                if partial.size > before:
                    self._tries.progressed()
                    # A length that lied: the blob may be whole though its connection seemed cut.
                    if partial.digest() == self._digest:
                        return
                _log.warning(
                    "resuming a download", digest=self._digest, at=partial.size, tries=self._tries.made, error=error
                )
                self._tries.again(error)
            else:
                # Should its bytes be wrong, the next try's patience begins here.
                self._tries.progressed()
                return

    def _try(self, partial: Partial) -> None:
        """Append what one request brings. Asked even for nothing: the answer proves our access (Status)."""
        body = self._split.open(partial.size, self._tries.made > 0)
        try:
            self._observer.grown(partial, body.size)
            for chunk in _bounded(self._swift(body), body.size, partial):
                partial.append(chunk)
                self._observer.grown(partial, body.size)
                # A fast upstream never makes this thread wait, and under gevent nobody else would run.
                time.sleep(0)
        finally:
            body.close()

    def _swift(self, body: Body) -> Iterator[bytes]:
        """Yield the chunks of ``body``; UpstreamTimeout where they trickle."""
        began, arrived = self._tries.clock(), 0
        for chunk in body:
            yield chunk
            arrived += len(chunk)
            spent = self._tries.clock() - began
            if spent > SPEED_WINDOW:
                if arrived < MIN_SPEED * spent:
                    raise UpstreamTimeout(
                        f"{self._source.upstream} sent {arrived} bytes in {spent:.0f} s; asking again"
                    )
                began, arrived = self._tries.clock(), 0

    def _wrong(self, partial: Partial, inherited: bool) -> None:
        found = partial.digest()
        partial.discard()
        self._observer.restarted()
        # Bytes that another leader left may be what was wrong; they do not count against this upstream.
        self._corrupt += not inherited
        _log.error(
            "upstream sent wrong bytes",
            upstream=self._source.upstream,
            repository=self._source.repository,
            digest=self._digest,
            found=found,
            bytes=partial.size,
        )
        if self._corrupt >= MAX_CORRUPT:
            raise UpstreamCorrupt(
                f"{self._source.upstream} sent bytes that are not the blob: asked for {self._digest}, got {found}",
                detail={"wanted": str(self._digest), "found": str(found)},
            )


def _bounded(body: Iterable[bytes], size: int | None, partial: Partial) -> Iterator[bytes]:
    """Yield the chunks of ``body`` up to the whole's ``size``; UpstreamUnavailable where they end before."""
    for chunk in body:
        room = len(chunk) if size is None else size - partial.size
        if room <= 0:
            return
        yield chunk[:room]
    if size is not None and partial.size < size:
        raise UpstreamUnavailable(f"upstream ended a blob after {partial.size} of {size} bytes")
