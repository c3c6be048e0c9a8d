"""A large blob by several requests at once, for a line that carries more than upstream gives one connection.

The bytes come out in order, as those of one request do. What arrives before its turn waits in memory, at most a part
for each request ahead. Every request has its end, so no byte is sent twice, and none that nobody wants. Anything odd
about a request ahead ends all of this for the blob: the rest comes by one request, as if nothing had been.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

from registry_cache.errors import RegistryError, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.pull.resume import ResumingFetch
from registry_cache.pull.source import STALL_TIMEOUT_SECONDS, BlobSource, BlobStream, RangeResponse
from registry_cache.pull.transfer.concurrency import RequestPace
from registry_cache.runtime import request_context
from registry_cache.runtime.log import Log

# Bytes of one request. Smaller ones cost more round trips; larger ones more memory, which holds each one ahead. All end
# at a multiple of it: where a part ended within a piece (`store/piece_file.py`), two would wait for each other's claim.
PART_SIZE = 4 * 1024 * 1024
# A smaller blob has arrived before we know whether a second request helps.
MIN_SPLIT_SIZE = 4 * PART_SIZE
# Parts that a process holds ahead, for all its downloads together: 32 MiB.
MAX_PARTS_AHEAD = 8

_log = Log(__name__)


class PartBudget:
    """How many more parts may be held in memory; shared by all downloads of a process."""

    def __init__(self, parts: int = MAX_PARTS_AHEAD) -> None:
        self._left = threading.BoundedSemaphore(parts)

    def take(self) -> bool:
        """Return whether there was room for one part; then call ``give``."""
        return self._left.acquire(blocking=False)

    def give(self) -> None:
        self._left.release()


class ParallelRanges:
    """The requests for one blob, ``source.requests`` at once at most and while that helps."""

    def __init__(self, digest: Digest, source: BlobSource, budget: PartBudget, clock: Callable[[], float]) -> None:
        self.digest = digest
        self.source = source
        self.budget = budget
        self.clock = clock
        # Becomes 1 where more than one at a time do not work.
        self.most = source.requests

    def open(self, start: int, again: bool, stop: int | None = None) -> RangeResponse:
        """Ask for the bytes from ``start`` on, as ``source.open`` does. Raises what that raises."""
        if self.most == 1 or (self.source.expected() or 0) - start < MIN_SPLIT_SIZE:
            return self.source.open(start, again, stop)
        end = (start + PART_SIZE + PART_SIZE // 2) // PART_SIZE * PART_SIZE
        first = ResumingFetch.begin(self.digest, self.source.open, start, end, again=again)
        if first.bounded and first.size is None:
            # ``Content-Range: bytes 0-4194303/*``: nobody could tell the part's end from the blob's.
            first.close()
            self.most = 1
            return self.source.open(start, again, stop)
        return _Parts(self, first, first.size) if first.bounded and first.size is not None else first


class _Part:
    """The bytes from ``start`` to ``stop`` as they arrive, ahead of their turn. Guarded by its blob's condition."""

    def __init__(self, start: int, stop: int) -> None:
        self.start = start
        self.stop = stop
        self.chunks: deque[bytes] = deque()
        self.begun = False
        self.ended = False
        self.fetch: ResumingFetch | None = None
        self.is_over = False
        self.error: RegistryError | None = None


class _Parts:
    """A RangeResponse: what ``first`` brings, then the parts behind it."""

    stop: int | None = None

    def __init__(self, ranges: ParallelRanges, first: ResumingFetch, size: int) -> None:
        self.start = first.start
        self.size: int | None = size
        self._end = size
        self._ranges = ranges
        self._digest = ranges.digest
        self._source = ranges.source
        self._pace = RequestPace(ranges.most, ranges.clock())
        self._current: BlobStream = first
        self._next = min(first.stop or size, size)
        self._ahead: deque[_Part] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes in order, as they arrive. Raises UpstreamUnavailable, UpstreamTimeout."""
        for chunk in self._current:
            yield chunk
            self._count(len(chunk))
            self._ask_ahead()
        while self._ahead:
            yield from self._take(self._ahead[0])
            self._drop()
            self._ask_ahead()
        if self._next < self._end:
            self._current.close()
            self._current = self._source.open(self._next, True)
            yield from self._current

    def close(self) -> None:
        """Drop everything; requests ahead end with their next read."""
        with self._changed:
            self._closed = True
        while self._ahead:
            self._drop()
        self._current.close()

    def _ask_ahead(self) -> None:
        """Ask for as many parts ahead as are worth it now, besides the one whose turn it is."""
        while len(self._ahead) < self._width() - 1 and self._next < self._end and self._ranges.budget.take():
            part = _Part(self._next, min(self._next + PART_SIZE, self._end))
            self._next = part.stop
            self._ahead.append(part)
            name = f"part {part.start} of {self._digest}"
            request_context.start_thread(name, self._fetch, part)

    def _width(self) -> int:
        return min(self._pace.width, self._ranges.most)

    def _drop(self) -> None:
        part = self._ahead.popleft()
        part.chunks.clear()
        with self._changed:
            fetch, part.fetch, part.is_over = part.fetch, None, True
        if fetch:
            fetch.close()
        self._ranges.budget.give()

    def _take(self, part: _Part) -> Iterator[bytes]:
        """Yield the bytes of ``part``, whose turn it is."""
        at = part.start
        while at < part.stop:
            with self._changed:
                if not self._changed.wait_for(lambda: part.chunks or part.ended, STALL_TIMEOUT_SECONDS):
                    raise UpstreamTimeout(f"a part of {self._digest} has not moved for {STALL_TIMEOUT_SECONDS:.0f} s")
                if not part.chunks:
                    break
                chunk = part.chunks.popleft()
            at += len(chunk)
            yield chunk
            self._ask_ahead()
        if at < part.stop:
            # It is resumed by one request, which then raises the error if there still is one.
            raise UpstreamUnavailable(f"a request ahead ended at byte {at} of {self._digest}") from part.error

    def _fetch(self, part: _Part) -> None:
        try:
            if self._closed:
                return
            fetch = ResumingFetch.begin(self._digest, self._source.open, part.start, part.stop, again=True)
            try:
                if not fetch.bounded or fetch.size != self.size:
                    raise UpstreamError(
                        f"{self._source.owner.upstream} answered a range of {self._digest} with another"
                    )
                for chunk in fetch:
                    if not self._put(part, chunk):
                        return
            finally:
                self._leave_open(part, fetch)
        except RegistryError as error:
            part.error = error
            self._ranges.most = 1
            _log.info("one request at a time from here", digest=self._digest, at=part.start, error=error)
        finally:
            with self._changed:
                part.ended = True
                self._changed.notify_all()

    def _leave_open(self, part: _Part, fetch: ResumingFetch) -> None:
        """Have a fetch closed when its bytes are on the disk: until then whoever else misses them must wait."""
        with self._changed:
            if not part.is_over:
                part.fetch = fetch
                return
        fetch.close()

    def _put(self, part: _Part, chunk: bytes) -> bool:
        """Keep a chunk until its turn; return False if nobody waits for it any more."""
        with self._changed:
            if self._closed:
                return False
            if not part.begun:
                part.begun = True
                if part is self._ahead[-1]:
                    self._pace.measure(self._ranges.clock())
            self._pace.arrived(len(chunk), self._ranges.clock())
            part.chunks.append(chunk)
            self._changed.notify_all()
        return True

    def _count(self, size: int) -> None:
        with self._changed:
            self._pace.arrived(size, self._ranges.clock())
