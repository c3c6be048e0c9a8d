"""One transfer of a blob that is not kept, and what proves it right: knows nothing of who reads it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from registry_cache.errors import UpstreamCorrupt, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from registry_cache.oci.digest import Digest, Hasher
from registry_cache.pull.download import Body, Source, Tries


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
    """The bytes of a blob behind the first ``at``; where they break off, those that follow from a further request.

    ``size`` is the whole's in bytes, None where upstream does not say. Iterate it once; close it.
    """

    def __init__(self, digest: Digest, source: Source, at: int = 0) -> None:
        """Ask upstream. Raises UpstreamError and its kinds, NotFound, Denied, TooManyRequests."""
        self._digest = digest
        self._source = source
        self._at = at
        self._tries = Tries(time.monotonic, time.sleep)
        body = source.open(at, at > 0)
        self._body: Body | None = body
        self.size = body.size

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes as they arrive. Raises what further requests raise when enough of them were made."""
        while self._body is not None:
            before, size = self._at, self._body.size
            try:
                for chunk in self._body:
                    self._at += len(chunk)
                    yield chunk
                if size is None or self._at >= size:
                    return
                raise UpstreamUnavailable(f"upstream ended {self._digest} after {self._at} of {size} bytes")
            except (UpstreamUnavailable, UpstreamTimeout) as error:
                self.close()
                self._body = self._again(self._at > before, error)

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def _again(self, progress: bool, error: UpstreamError) -> Body:
        if progress:
            self._tries.progressed()
        while True:
            self._tries.again(error)
            try:
                return self._source.open(self._at, True)
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
