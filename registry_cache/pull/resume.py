"""The bytes of a blob by one request after another: where one breaks off, the next goes on behind its last byte.

Knows neither who keeps the bytes nor who reads them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from registry_cache.errors import UpstreamDown, UpstreamTimeout, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.pull.source import AskForRange, RangeResponse, Tries
from registry_cache.runtime.log import Log

_log = Log(__name__)


class ResumingFetch:
    """The bytes from ``start`` on, up to ``stop`` if that is given. Iterate it once; close it.

    ``at`` is where the next byte belongs. ``size`` is the whole's in bytes as the last answer said it, None where
    upstream does not say. ``bounded``: upstream ends where it was asked to.
    """

    def __init__(
        self, digest: Digest, ask: AskForRange, start: int = 0, stop: int | None = None, tries: Tries | None = None
    ) -> None:
        """Ask nothing yet. ``tries``: those of earlier fetches count, too."""
        self.at = self.start = start
        self.size: int | None = None
        self.stop = stop
        self.bounded = False
        self._digest = digest
        self._ask = ask
        self._tries = tries or Tries(time.monotonic, time.sleep)
        self._body: RangeResponse | None = None

    @classmethod
    def begin(
        cls, digest: Digest, ask: AskForRange, start: int = 0, stop: int | None = None, *, again: bool | None = None
    ) -> ResumingFetch:
        """Return a fetch that upstream has answered; ``again`` as in AskForRange, None for where bytes were had before.

        Raises UpstreamError and its kinds, NotFound, Denied, TooManyRequests.
        """
        fetch = cls(digest, ask, start, stop)
        body = fetch._open(start > 0 if again is None else again)
        fetch.bounded = stop is not None and body.stop is not None and body.stop <= stop
        fetch.stop = stop if fetch.bounded else None
        return fetch

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes as they arrive. Raises what requests raise when enough of them were made."""
        while True:
            before = self.at
            try:
                yield from self._pieces(self._body or self._open(self._tries.made > 0))
            except (UpstreamUnavailable, UpstreamTimeout) as error:
                self.close()
                if isinstance(error, UpstreamDown) and not self.at:
                    # Known to fail before we began, and nobody has a byte that would be worth the wait.
                    raise
                if self.at > before:
                    self._tries.progressed()
                    if self.is_whole():
                        return
                made = self._tries.made
                _log.warning("resuming a download", digest=self._digest, at=self.at, tries=made, error=error)
                self._tries.pause_or_raise(error)
            else:
                # Should the bytes be wrong, the time of the next try begins here.
                self._tries.progressed()
                return

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    # What a download adds.

    def answered(self) -> None:
        """Called when a request has its answer, before any byte of it."""

    def watch(self, body: RangeResponse) -> Iterable[bytes]:
        """Return the chunks of ``body``."""
        return body

    def is_whole(self) -> bool:
        """Return whether the bytes so far are all there are, although their connection seemed cut: lengths may lie."""
        return False

    def _open(self, again: bool) -> RangeResponse:
        self._body = body = self._ask(self.at, again, self.stop)
        self.size = body.size
        self.answered()
        return body

    def _pieces(self, body: RangeResponse) -> Iterator[bytes]:
        """Yield what one request brings; UpstreamUnavailable where it ends too early."""
        ends = [end for end in (self.stop, body.size) if end is not None]
        end = min(ends, default=None)
        for chunk in self.watch(body):
            piece = chunk if end is None else chunk[: max(0, end - self.at)]
            if not piece:
                break
            self.at += len(piece)
            yield piece
        if end is not None and self.at < end:
            raise UpstreamUnavailable(f"upstream ended {self._digest} after {self.at} of {end} bytes")
