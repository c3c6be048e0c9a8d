"""What a download reads: pieces of the blob that are here already, and from upstream what is between them.

Upstream is asked for nothing twice. Who reads ranges meanwhile may fetch pieces ahead of the download, which then ends
its request where they begin; requests are short from there on, so that the next pieces cost no broken one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from registry_cache.errors import StoreError, UpstreamTimeout, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.pull.source import STALL_TIMEOUT_SECONDS, BlobSource, RangeResponse
from registry_cache.runtime.log import Log
from registry_cache.store.piece_file import PieceClaim, PieceFile
from registry_cache.store.pieces import Pieces

# Bytes of one request beside readers of ranges, who wait for those that are claimed for it.
SPAN = 4 * 1024 * 1024
# After how many bytes to look for pieces that somebody fetches ahead, and how far ahead.
LOOK_EVERY, LOOK_AHEAD = 1024 * 1024, 16 * 1024 * 1024
_READ_SIZE = 256 * 1024
_POLL_SECONDS = 0.01

_log = Log(__name__)


class PieceReuse:
    """A download's ``source``, and the pieces that its upstream has given.

    ``yield_to_readers`` is called before each request beside pieces; it may wait.
    """

    def __init__(
        self, digest: Digest, source: BlobSource, pieces: Pieces, yield_to_readers: Callable[[], None] = lambda: None
    ) -> None:
        self.digest = digest
        self.source = source
        self.yield_to_readers = yield_to_readers
        self.took_pieces = False
        self._pieces = pieces
        self._is_broken = False

    def open(self, start: int, again: bool, stop: int | None = None) -> RangeResponse:
        """Ask for bytes as ``source.open`` does, where they are not here. Raises what that raises."""
        file = self.find()
        if file is None or not start < file.size:
            return _Stitched(self, None, self.source.open(start, again, stop), start, stop)
        if file.owner != str(self.source.repository):
            # What is here was given to another repository: upstream must say that ours may have it.
            self.source.open(0, again, 1).close()
        return _Stitched(self, file, None, start, None if stop is None else min(stop, file.size), again=again)

    def find(self) -> PieceFile | None:
        """Return the pieces, if there are any by now, and the disk has given those that were asked for."""
        if self._is_broken:
            return None
        try:
            return self._pieces.open(self.source.upstream, self.digest)
        except StoreError as error:
            _log.debug("could not open pieces", digest=self.digest, error=error)
            return None

    def read(self, file: PieceFile, start: int, stop: int) -> bytes:
        """Return what is here from ``start`` on; b"" for nothing."""
        try:
            data = file.read(start, stop)
        except OSError as error:
            _log.debug("could not read pieces", digest=self.digest, error=error)
            self._is_broken = True
            return b""
        self.took_pieces = self.took_pieces or bool(data)
        return data

    def discard(self) -> bool:
        """Remove the pieces: the whole is wrong. Return whether it was made of any since this was asked last."""
        took, self.took_pieces = self.took_pieces, False
        try:
            self._pieces.discard(self.source.upstream, self.digest)
        except StoreError as error:
            _log.warning("could not discard pieces", digest=self.digest, error=error)
        return took

    def discard_all(self) -> None:
        """Remove all pieces: the blob is whole. What stays is removed by the next cleanup."""
        try:
            self._pieces.discard_all(self.digest)
        except StoreError as error:
            _log.debug("could not discard pieces", digest=self.digest, error=error)


class _Stitched:
    """A RangeResponse of what is here and what one request after another brings, from ``start`` on."""

    def __init__(
        self,
        reuse: PieceReuse,
        file: PieceFile | None,
        body: RangeResponse | None,
        start: int,
        stop: int | None,
        *,
        again: bool = True,
    ) -> None:
        """``body``: upstream was asked already; otherwise there is a ``file``, to be read up to ``stop``."""
        self.start = self._at = start
        self.size = body.size if body else file.size if file else None
        self.stop = body.stop if body else stop
        self._reuse = reuse
        self._file = file
        self._body = body
        self._again = again
        self._looked_at = start
        self._meets_at: int | None = None
        self._claimed: PieceClaim | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes in order. Raises what requests raise."""
        if self._body:
            yield from self._read(self._body)
        end = self.size if self.stop is None else self.stop
        while self._file and end is not None and self._at < end:
            before = self._at
            yield from self._from_pieces(self._file, end)
            if self._at < end:
                yield from self._from_upstream(self._file, end)
            if self._at == before:
                # Upstream ended too early: who asked resumes.
                return

    def close(self) -> None:
        """End the request, and free what was claimed for it: whoever read the bytes has put them where they belong."""
        body, self._body = self._body, None
        if body:
            body.close()
        claim, self._claimed = self._claimed, None
        if claim:
            claim.close()

    def _read(self, body: RangeResponse) -> Iterator[bytes]:
        """Yield what ``body`` brings, up to where it meets pieces that somebody else has fetched, or is at."""
        for chunk in body:
            self._at += len(chunk)
            yield chunk
            if self._at - self._looked_at >= LOOK_EVERY:
                self._look_ahead()
            if self._meets_at is not None and self._at >= self._meets_at:
                self.close()
                return
        # It has ended of itself, whatever lengths say.
        self._file = None

    def _look_ahead(self) -> None:
        self._looked_at = self._at
        file = self._file or self._reuse.find()
        if file is None or file.size != self.size or file.owner != str(self._reuse.source.repository):
            return
        self._file = file
        ahead = min(file.size, self._at + LOOK_AHEAD)
        free = file.free_until(self._at, ahead) if self._at < ahead else ahead
        self._meets_at = free if free < ahead else None

    def _from_pieces(self, file: PieceFile, end: int) -> Iterator[bytes]:
        while self._at < end and (data := self._reuse.read(file, self._at, min(end, self._at + _READ_SIZE))):
            self._at += len(data)
            yield data

    def _from_upstream(self, file: PieceFile, end: int) -> Iterator[bytes]:
        """Yield what is missing here, up to the next piece; nothing where somebody else has just brought it."""
        self._reuse.yield_to_readers()
        self.close()
        self._claimed = claim = self._claim(file, end)
        stop = min(end, file.gap_until(self._at, claim.stop)) if claim else self._at
        if stop == self._at:
            yield from self._from_pieces(file, end)
            return
        self._body = body = self._reuse.source.open(self._at, self._again, stop)
        self._again = True
        if body.size is not None and body.size != file.size:
            self._reuse.discard()
            raise UpstreamUnavailable(f"upstream has {body.size} bytes of {self._reuse.digest}, had {file.size}")
        for chunk in body:
            # Who ignores where a range ends sends all of it, and does so again if it is cut.
            piece = chunk if body.stop is None else chunk[: stop - self._at]
            self._at += len(piece)
            if piece:
                yield piece
            if body.stop is not None and self._at >= stop:
                break

    def _claim(self, file: PieceFile, end: int) -> PieceClaim | None:
        """Claim what is missing; None where it has come while somebody else was at it."""
        until = time.monotonic() + STALL_TIMEOUT_SECONDS
        while file.here_until(self._at, self._at + 1) == self._at:
            claim = file.claim(self._at, min(end, self._at + SPAN))
            if claim or not file.has_name():
                return claim
            if time.monotonic() > until:
                raise UpstreamTimeout(
                    f"a range of {self._reuse.digest} has not moved for {STALL_TIMEOUT_SECONDS:.0f} s"
                )
            time.sleep(_POLL_SECONDS)
        return None
