"""One transfer of a blob that is not kept, and what proves it right: knows nothing of who reads it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from registry_cache.errors import UpstreamCorrupt, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from registry_cache.oci.digest import Digest, Hasher
from registry_cache.pull.source import Response, Source, Tries
from registry_cache.runtime.log import Log

_log = Log(__name__)


class Place:
    """A place in a blob: ``at`` bytes are before it, and ``hasher`` was fed all of them."""

    __slots__ = ("at", "hasher")

    def __init__(self, hasher: Hasher, at: int = 0) -> None:
        self.at = at
        self.hasher = hasher

    def copy(self) -> Place:
        return Place(self.hasher.copy(), self.at)

    def add(self, data: bytes | memoryview) -> None:
        """Move behind ``data``, the bytes that follow."""
        self.hasher.update(data)
        self.at += len(data)

    def same(self, other: Place) -> bool:
        """Tell whether the same bytes are before both."""
        return self.at == other.at and self.hasher.hexdigest() == other.hasher.hexdigest()


class Fetch:
    """The bytes of a blob behind the first ``start``, up to ``stop`` if that is given; where they break off, those that
    follow from a further request.

    ``size`` is the whole's in bytes, None where upstream does not say. ``bounded``: upstream ends where it was asked
    to. Iterate it once; close it.
    """

    def __init__(
        self, digest: Digest, source: Source, start: int = 0, stop: int | None = None, *, again: bool | None = None
    ) -> None:
        """Ask upstream; ``again`` as in ``Source.open``. Raises UpstreamError and its kinds, NotFound, Denied,
        TooManyRequests.
        """
        self._digest = digest
        self._source = source
        self._at = self.start = start
        self._stop = stop
        self._tries = Tries(time.monotonic, time.sleep)
        body = source.open(start, start > 0 if again is None else again, stop)
        self._body: Response | None = body
        self.size = body.size
        self.bounded = stop is not None and body.stop is not None and body.stop <= stop

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes as they arrive. Raises what further requests raise when enough of them were made."""
        while self._body is not None:
            before, end = self._at, self._end(self._body.size)
            try:
                for chunk in self._body:
                    piece = chunk[: end - self._at] if self.bounded and end is not None else chunk
                    if not piece:
                        break
                    self._at += len(piece)
                    yield piece
                if end is None or self._at >= end:
                    return
                raise UpstreamUnavailable(f"upstream ended {self._digest} after {self._at} of {end} bytes")
            except (UpstreamUnavailable, UpstreamTimeout) as error:
                self.close()
                self._body = self._again(self._at > before, error)

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def _end(self, size: int | None) -> int | None:
        """Return where the bytes end that were asked for, of a whole of ``size``."""
        return self._stop if self.bounded and self._stop is not None and (size is None or self._stop < size) else size

    def _again(self, progress: bool, error: UpstreamError) -> Response:
        if progress:
            self._tries.progressed()
        while True:
            _log.warning("resuming a download", digest=self._digest, at=self._at, tries=self._tries.made, error=error)
            self._tries.again(error)
            try:
                return self._source.open(self._at, True, self._stop if self.bounded else None)
            except (UpstreamUnavailable, UpstreamTimeout) as failure:
                error = failure


def verified(digest: Digest, size: int | None, chunks: Iterable[bytes], place: Place) -> Iterator[bytes]:
    """Yield what ``chunks`` hold, which begin at ``place``; the last byte alone, when all before it are verified.

    Each piece begins at ``place``, which moves on behind it. ``size`` is what upstream announced, None for nothing.
    Raises UpstreamCorrupt, UpstreamUnavailable where the announced end is not the end.
    """
    held = b""
    for chunk in chunks:
        piece, held = b"".join((held, memoryview(chunk)[:-1])), chunk[-1:]
        if piece:
            yield piece
            place.add(piece)
        # A fast upstream never makes its reader wait, and under gevent nobody else would run.
        time.sleep(0)
    end = place.copy()
    end.add(held)
    if not digest.matches(end.hasher):
        raise UpstreamCorrupt(f"upstream sent bytes that are not the blob {digest}")
    if size not in (None, end.at):
        raise UpstreamUnavailable(f"{digest} has {end.at} bytes, upstream had announced {size}")
    if held:
        yield held
        place.add(held)
