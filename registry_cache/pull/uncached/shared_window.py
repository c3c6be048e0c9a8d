"""A stream: the transfer of a blob that cannot be kept, and the window in memory that its readers share.

A thread fetches; readers take piece after piece. What is behind all of them is kept while there is room, for those who
come late. Where the window is full of what one reader has not taken and another waits, they part after a while: the
fewer go on by a request of their own. The last byte is put in when the digest of all is right, so readers need no hash.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from registry_cache.errors import RegistryError, UpstreamCorrupt, UpstreamError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName
from registry_cache.pull.prefix_hash import HashedPlace, verified
from registry_cache.pull.reader_timeout import wait_for_change
from registry_cache.pull.resume import ResumingFetch
from registry_cache.pull.source import BlobSource
from registry_cache.runtime.log import Log
from registry_cache.runtime.single_flight import raise_own

# How long, in all, readers wait for slower ones. dockerd and containerd give up after some tens of seconds without a
# byte; less would part readers whose lines only stutter.
SLOWER_TIMEOUT_SECONDS = 5.0

# Between two looks at which readers wait for slower ones.
_LOOK_SECONDS = 0.25

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of the blob, and the place where they begin."""

    place: HashedPlace
    data: bytes


class LeftStream(Exception):
    """This reader goes on by itself, from ``place``, which is where the next piece would have begun."""

    def __init__(self, place: HashedPlace) -> None:
        super().__init__(place.at)
        self.place = place


class _Abandoned(Exception):
    """The stream has no reader left."""


class StreamReader:
    """One reader of ``stream``: ``number`` of the piece that it takes next. Made by ``SharedStream.join``."""

    def __init__(self, stream: SharedStream, owner: FullName, number: int) -> None:
        self.stream = stream
        self.owner = owner
        self.number = number
        self.waiting = False
        self.left_at: HashedPlace | None = None


class SharedStream:
    """The transfer of ``digest`` from ``begin`` on, by ``source``; ``limit()`` bytes may be in the window now.

    The window holds the bytes from ``begin`` to ``end``.
    """

    def __init__(self, digest: Digest, source: BlobSource, begin: HashedPlace, limit: Callable[[], int]) -> None:
        self.digest = digest
        self.owner: FullName = source.owner
        self.began = time.monotonic()
        self.size: int | None = None
        self._source = source
        self._limit = limit
        self._place = begin.copy()
        self._began_at = begin.at
        self._mutex = threading.Lock()
        self._grown = threading.Condition(self._mutex)
        self._moved = threading.Condition(self._mutex)
        self._pieces: deque[Piece] = deque()
        self._first = 0
        self._held = 0
        self.begin = self.end = begin.at
        self._readers: set[StreamReader] = set()
        self._waited = 0.0
        self._answered = False
        self._ended = False
        self.error: RegistryError | None = None
        # What is wrong with the bytes, if anything: somebody nearer may have sent them.
        self.is_upstreams_fault = True

    # Readers.

    def join(self, owner: FullName) -> StreamReader:
        """Return a new reader, at the window's begin. Its access is the caller's to prove; let it ``leave``."""
        with self._mutex:
            reader = StreamReader(self, owner, self._first)
            self._readers.add(reader)
            return reader

    def leave(self, reader: StreamReader) -> bool:
        """Forget ``reader``; return whether any is left: without readers the transfer ends."""
        with self._mutex:
            self._readers.discard(reader)
            self._moved.notify_all()
            return bool(self._readers)

    def position(self, reader: StreamReader) -> int:
        """Return where the bytes begin that ``reader`` takes next."""
        with self._mutex:
            return self._place_of(reader).at

    def wait_for_answer(self, reader: StreamReader) -> None:
        """Return when upstream has answered. Raises LeftStream, or the error that it answered."""
        with self._mutex:
            self._wait(reader, lambda: self._answered or self._ended)
            self._stop(reader, drained=not self._answered)

    def take(self, reader: StreamReader) -> Piece | None:
        """Return the next piece, None at the verified end. Raises LeftStream, or the error that ended the transfer."""
        with self._mutex:
            self._wait(reader, lambda: self._has(reader) or self._ended)
            self._stop(reader, drained=not self._has(reader))
            if not self._has(reader):
                return None
            piece = self._pieces[reader.number - self._first]
            reader.number += 1
            if reader.number == self._first + 1 and not self._first_is_needed():
                self._moved.notify_all()
            return piece

    def _has(self, reader: StreamReader) -> bool:
        return reader.number < self._first + len(self._pieces)

    def _stop(self, reader: StreamReader, drained: bool) -> None:
        if reader.left_at:
            raise LeftStream(reader.left_at)
        if self.error and drained:
            raise_own(self.error)

    def _wait(self, reader: StreamReader, ready: Callable[[], bool]) -> None:
        while not ready() and not reader.left_at:
            reader.waiting = True
            try:
                wait_for_change(self._grown, lambda: self.end, f"the transfer of {self.digest}")
            finally:
                reader.waiting = False

    # The transfer.

    def run(self) -> None:
        """Fetch until the end, or until nobody reads any more."""
        try:
            with closing(ResumingFetch.begin(self.digest, self._source.open, self._place.at)) as fetch:
                self._answer(fetch.size)
                for data in verified(self.digest, fetch.size, fetch, self._place):
                    self._put(data)
            self._finish(None)
        except _Abandoned:
            _log.debug("nobody reads a stream any more", digest=self.digest)
        except RegistryError as error:
            if isinstance(error, UpstreamCorrupt):
                self.is_upstreams_fault = self._source.on_wrong(self._began_at == 0)
            _log.info("a stream ended", digest=self.digest, repository=self._source.owner.repository, error=error)
            self._finish(error)
        except Exception as error:  # noqa: BLE001 — readers must learn of any end, or they wait for nothing
            _log.exception("a stream ended with a defect", digest=self.digest)
            self._finish(UpstreamError(f"the transfer of {self.digest} broke: {type(error).__name__}"))

    def _answer(self, size: int | None) -> None:
        with self._mutex:
            self.size, self._answered = size, True
            self._grown.notify_all()

    def _put(self, data: bytes) -> None:
        with self._mutex:
            while self._readers and not self._make_room(len(data)):
                self._await_move()
            if not self._readers:
                raise _Abandoned
            self._pieces.append(Piece(self._place.copy(), data))
            self._held += len(data)
            self.end += len(data)
            self._grown.notify_all()

    def _make_room(self, size: int) -> bool:
        """Drop what every reader has taken, if there must be room; return whether there is. One piece always fits."""
        limit = self._limit()
        while self._pieces and self._held + size > limit and not self._first_is_needed():
            data = self._pieces.popleft().data
            self._first += 1
            self._held -= len(data)
            self.begin += len(data)
        return not self._pieces or self._held + size <= limit

    def _first_is_needed(self) -> bool:
        """Return whether a reader has yet to take the first piece."""
        return any(reader.number == self._first for reader in self._readers)

    def _await_move(self) -> None:
        """Wait a moment for the slowest readers; where others have waited for them too long, part them."""
        waited, began = bool(self._waiting()), time.monotonic()
        self._moved.wait(_LOOK_SECONDS)
        waiting = self._waiting()
        if waited and waiting:
            self._waited += time.monotonic() - began
            if self._waited > SLOWER_TIMEOUT_SECONDS:
                self._part(waiting)

    def _waiting(self) -> list[StreamReader]:
        return [reader for reader in self._readers if reader.waiting and not self._has(reader)]

    def _part(self, waiting: list[StreamReader]) -> None:
        """Send off those who wait, or those in the older half of the window, whichever are fewer."""
        half = self._first + len(self._pieces) // 2
        slow = [reader for reader in self._readers if reader.number <= max(self._first, half - 1)]
        for reader in min(slow, waiting, key=len):
            self._send_off(reader)
        self._waited = 0.0
        self._grown.notify_all()

    def _send_off(self, reader: StreamReader) -> None:
        reader.left_at = self._place_of(reader).copy()
        self._readers.discard(reader)

    def _place_of(self, reader: StreamReader) -> HashedPlace:
        if reader.left_at:
            return reader.left_at
        return self._pieces[reader.number - self._first].place if self._has(reader) else self._place

    def _finish(self, error: RegistryError | None) -> None:
        """Tell the readers of the end. It fails only those who asked for it, or who may have been sent wrong bytes."""
        with self._mutex:
            self.error, self._ended = error, True
            if error and not isinstance(error, UpstreamCorrupt):
                for reader in [reader for reader in self._readers if reader.owner != self.owner]:
                    self._send_off(reader)
            self._grown.notify_all()
