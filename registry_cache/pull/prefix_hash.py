"""A position in a blob with the hash of all bytes before it, so that what follows can prove the whole.

Readers of a partial have been sent its bytes when the disk fails. What they get instead comes from upstream, and may be
completed only if both together are the blob.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator

from registry_cache.errors import StoreError, UpstreamCorrupt, UpstreamUnavailable
from registry_cache.oci.digest import Digest, Hasher
from registry_cache.runtime import threadpool
from registry_cache.store.disk import ReadHandle

_BLOCK = 1024 * 1024


class HashedPlace:
    """A position in a blob: ``at`` bytes come before it, and ``hasher`` was fed all of them."""

    __slots__ = ("at", "hasher")

    def __init__(self, hasher: Hasher, at: int = 0) -> None:
        self.at = at
        self.hasher = hasher

    def copy(self) -> HashedPlace:
        return HashedPlace(self.hasher.copy(), self.at)

    def add(self, data: bytes | memoryview) -> None:
        """Move on by ``data``, the bytes that follow."""
        self.hasher.update(data)
        self.at += len(data)

    def is_same(self, other: HashedPlace) -> bool:
        """Return whether the same bytes come before both."""
        return self.at == other.at and self.hasher.hexdigest() == other.hasher.hexdigest()


class PrefixHashes:
    """Places in the file of one transfer; each is hashed once, for all the readers that got as far."""

    def __init__(self, digest: Digest) -> None:
        self._digest = digest
        self._mutex = threading.Lock()
        self._file: ReadHandle | None = None
        self._places: list[HashedPlace] = []

    def place(self, file: ReadHandle, at: int) -> HashedPlace:
        """Return the place behind the first ``at`` bytes of ``file``. Raises StoreError."""
        with self._mutex:
            if file is not self._file:
                self._file, self._places = file, [HashedPlace(self._digest.hasher())]
            found = max((place for place in self._places if place.at <= at), key=lambda place: place.at)
            if found.at < at:
                found = found.copy()
                threadpool.run(_go_on, found, file, at)
                self._places.append(found)
            return found.copy()


def verified(digest: Digest, size: int | None, chunks: Iterable[bytes], place: HashedPlace) -> Iterator[bytes]:
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
        # A fast upstream never makes its reader wait, and under gevent no other greenlet would run.
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


def _go_on(place: HashedPlace, file: ReadHandle, at: int) -> None:
    while place.at < at:
        try:
            block = file.read_at(place.at, min(_BLOCK, at - place.at))
        except OSError as error:
            raise StoreError(f"could not read again what was sent: {error.strerror}") from error
        if not block:
            raise StoreError("what was sent is not there any more")
        place.add(block)
