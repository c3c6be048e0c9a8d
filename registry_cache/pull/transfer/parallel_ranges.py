"""A large blob by several requests at once, for a line that carries more than upstream gives one connection.

The bytes come out in order, as those of one request do. What arrives before its turn waits in memory, at most a part
for each request ahead. Every request has its end, so no byte is sent twice, and none that nobody wants. Anything odd
about a request ahead ends all of this for the blob: the rest comes by one request, as if nothing had been.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from registry_cache.errors import RegistryError, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.pull.resume import Fetch
from registry_cache.pull.source import Body, Source
from registry_cache.pull.transfer.concurrency import Pace
from registry_cache.pull.transfer.progress import MAX_STILL
from registry_cache.runtime.log import Log

# Bytes of a request. Smaller ones cost a round trip more often; and each that is ahead is held in memory.
PART = 4 * 1024 * 1024
# A smaller blob is over before it is known whether a second request helps.
LEAST = 4 * PART
# Parts that a process holds ahead, for all its downloads together: 32 MiB.
MOST_AHEAD = 8

_log = Log(__name__)


class Room:
    """How many more parts may be held in memory; shared by all downloads of a process."""

    def __init__(self, parts: int = MOST_AHEAD) -> None:
        self._left = threading.BoundedSemaphore(parts)

    def take(self) -> bool:
        """Take room for one part, if there is some; give it back."""
        return self._left.acquire(blocking=False)

    def give(self) -> None:
        self._left.release()


class Split:
    """The requests for one blob, ``source.requests`` at once at most and while that helps."""

    def __init__(self, digest: Digest, source: Source, room: Room, clock: Callable[[], float] = time.monotonic) -> None:
        self._digest = digest
        self._source = source
        self._room = room
        self._clock = clock
        self.most = source.requests

    def open(self, start: int, again: bool) -> Body:
        """Ask for the bytes from ``start`` on, as ``source.open`` does. Raises what that raises."""
        if self.most == 1 or (self._source.expected() or 0) - start < LEAST:
            return self._source.open(start, again)
        first = Fetch(self._digest, self._source, start, start + PART, again=again)
        if not first.bounded or first.size is None:
            return first
        return _Parts(self._digest, self._source, first, first.size, self._room, self)

    def never_again(self) -> None:
        """From now on one request at a time: more do not work here."""
        self.most = 1

    def now(self) -> float:
        return self._clock()


class _Part:
    """The bytes from ``start`` to ``stop`` as they arrive, ahead of their turn. Guarded by its blob's condition."""

    def __init__(self, start: int, stop: int) -> None:
        self.start = start
        self.stop = stop
        self.chunks: deque[bytes] = deque()
        self.begun = False
        self.ended = False
        self.error: RegistryError | None = None


class _Parts:
    """A Body: what ``first`` brings, then the parts behind it."""

    def __init__(self, digest: Digest, source: Source, first: Fetch, size: int, room: Room, split: Split) -> None:
        self.start = first.start
        self.size: int | None = size
        self._end = size
        self._digest = digest
        self._source = source
        self._pace = Pace(split.most, split.now())
        self._room = room
        self._split = split
        self._current: Body = first
        self._next = min(first.start + PART, size)
        self._ahead: deque[_Part] = deque()
        self._grown = threading.Condition()
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes in order, as they arrive. Raises UpstreamUnavailable, UpstreamTimeout."""
        for chunk in self._current:
            yield chunk
            self._count(len(chunk))
            self._reach()
        while self._ahead:
            yield from self._turn(self._ahead[0])
            self._drop()
            self._reach()
        if self._next < self._end:
            self._current.close()
            self._current = self._source.open(self._next, True)
            yield from self._current

    def close(self) -> None:
        """Let go of everything; requests ahead end with what they read next."""
        with self._grown:
            self._closed = True
        while self._ahead:
            self._drop()
        self._current.close()

    def _reach(self) -> None:
        """Ask for as many parts ahead as are worth it now, besides the one whose turn it is."""
        while len(self._ahead) < self._worth() - 1 and self._next < self._end and self._room.take():
            part = _Part(self._next, min(self._next + PART, self._end))
            self._next = part.stop
            self._ahead.append(part)
            name = f"part {part.start} of {self._digest}"
            threading.Thread(target=self._bring, args=(part,), name=name, daemon=True).start()

    def _worth(self) -> int:
        return min(self._pace.width, self._split.most)

    def _drop(self) -> None:
        self._ahead.popleft().chunks.clear()
        self._room.give()

    def _turn(self, part: _Part) -> Iterator[bytes]:
        """Yield the bytes of ``part``, whose turn it is."""
        at = part.start
        while at < part.stop:
            with self._grown:
                if not self._grown.wait_for(lambda: part.chunks or part.ended, MAX_STILL):
                    raise UpstreamTimeout(f"a part of {self._digest} has not moved for {MAX_STILL:.0f} s")
                if not part.chunks:
                    break
                chunk = part.chunks.popleft()
            at += len(chunk)
            yield chunk
            self._reach()
        if at < part.stop:
            # Resumed by one request; whatever is wrong is then its own error.
            raise UpstreamUnavailable(f"a request ahead ended at byte {at} of {self._digest}") from part.error

    def _bring(self, part: _Part) -> None:
        try:
            if self._closed:
                return
            fetch = Fetch(self._digest, self._source, part.start, part.stop, again=True)
            try:
                if not fetch.bounded or fetch.size != self.size:
                    raise UpstreamError(f"{self._source.upstream} answered a range of {self._digest} with another")
                for chunk in fetch:
                    if not self._put(part, chunk):
                        return
            finally:
                fetch.close()
        except RegistryError as error:
            part.error = error
            self._split.never_again()
            _log.info("one request at a time from here", digest=self._digest, at=part.start, error=error)
        finally:
            with self._grown:
                part.ended = True
                self._grown.notify_all()

    def _put(self, part: _Part, chunk: bytes) -> bool:
        """Keep a chunk until its turn; False where nobody waits for it any more."""
        with self._grown:
            if self._closed:
                return False
            if not part.begun:
                part.begun = True
                if part is self._ahead[-1]:
                    self._pace.measure(self._split.now())
            self._pace.arrived(len(chunk), self._split.now())
            part.chunks.append(chunk)
            self._grown.notify_all()
        return True

    def _count(self, size: int) -> None:
        with self._grown:
            self._pace.arrived(size, self._split.now())
