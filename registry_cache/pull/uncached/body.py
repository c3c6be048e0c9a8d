"""Bytes that cannot be kept: a full or failing disk never costs a client its pull (byte-safety rule 9).

Readers of one process share a stream. Who cannot keep up with it, or comes too late, has a request of his own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from registry_cache.errors import RegistryError, StoreError, UpstreamCorrupt, UpstreamError, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.pull.blob_body import Cut
from registry_cache.pull.prefix_hash import HashedPlace, verified
from registry_cache.pull.resume import ResumingFetch
from registry_cache.pull.source import BlobSource
from registry_cache.pull.uncached.shared_streams import SharedStreams
from registry_cache.pull.uncached.shared_window import LeftStream, Piece, StreamReader
from registry_cache.pull.wrong_bytes import WrongBytes
from registry_cache.runtime import metrics
from registry_cache.runtime.log import Log

_log = Log(__name__)


class UncachedBlob:
    """A blob that is streamed through. Close it. ``joined``: it was being streamed already."""

    stored = False

    def __init__(
        self,
        streams: SharedStreams,
        digest: Digest,
        source: BlobSource,
        prove: Callable[[], None],
        *,
        after: HashedPlace | None = None,
        announced: int | None = None,
        closed: Callable[[], None] = lambda: None,
        wrong_bytes: WrongBytes | None = None,
    ) -> None:
        """Join a stream, or start one; ``prove`` raises where our repository may not have what another asked for.

        ``after``: where the bytes end that the client has already, and what they were. ``announced`` is the size that
        it was told, if any. ``closed`` is called by ``close``. ``wrong_bytes`` hear of those. Raises UpstreamError and
        its kinds, NotFound, Denied, TooManyRequests.
        """
        self._streams = streams
        self._digest = digest
        self._source = source
        self._prove = prove
        self._after = after
        self._closed = closed
        self._wrong_bytes = wrong_bytes
        self._open = True
        self._reader: StreamReader | None = None
        self._fetch: ResumingFetch | None = None
        self._alone = after or HashedPlace(digest.hasher())
        self.joined = False
        try:
            size = self._join(after.at if after else None)
        except BaseException:
            self._leave()
            raise
        self.size = size if announced is None else announced
        metrics.count_uncached_blob()

    def parts(self, start: int, stop: int | None, *, from_file: bool = False) -> Iterator[bytes]:
        """Yield the bytes; they are in no file. The last one comes after all are verified.

        The whole is fetched and hashed whatever the range: an unverified part could be wrong. Raises Cut.
        """
        held, end = b"", 0
        try:
            for at, piece in self._pieces(start):
                end = at + len(piece)
                part = piece[max(0, start - at) : len(piece) if stop is None else max(0, stop - at)]
                if stop is not None and at < stop <= end:
                    part, held = part[:-1], part[-1:]
                if part:
                    yield part
                # Even where nothing is sent, as before ``start``: other greenlets of the worker must have their turn.
                time.sleep(0)
        except RegistryError as error:
            if self._wrong_bytes and isinstance(error, UpstreamCorrupt) and self._is_upstreams_fault():
                self._wrong_bytes.pause(self._source.owner, self._digest)
            raise Cut(error) from error
        if self.size not in (None, end) or (stop is not None and end < stop):
            raise Cut(UpstreamUnavailable(f"{self._digest} has {end} bytes, upstream had announced {self.size}"))
        if held:
            yield held

    def _is_upstreams_fault(self) -> bool:
        # Bytes that came before ours may be what is wrong.
        is_ours = self._after is None
        is_upstreams = self._reader.stream.is_upstreams_fault if self._reader else self._source.on_wrong(is_ours)
        return is_upstreams and is_ours

    def wait_for_size(self) -> None:
        if self.size is None:
            raise UpstreamError("upstream does not tell the size of this blob: ask by HTTP/1.1")

    def wait_until_stored(self) -> None:
        raise StoreError(f"the disk did not keep {self._digest}: registry-cache check tells what is wrong with it")

    def close(self) -> None:
        if self._open:
            self._open = False
            self._leave()
            self._closed()

    def _join(self, at: int | None) -> int | None:
        """Join a stream that has byte ``at``, or start a request of our own; return the announced size."""
        self._reader, new = self._streams.join(self._digest, self._source, self._prove, at, self._after)
        self.joined = not new
        try:
            self._reader.stream.wait_for_answer(self._reader)
        except LeftStream:
            # The repository that the stream was started for has no access; ours may have.
            return self._go_alone(self._alone)
        return self._reader.stream.size

    def _go_alone(self, place: HashedPlace) -> int | None:
        self._leave()
        self._fetch, self._alone = ResumingFetch.begin(self._digest, self._source.open, place.at), place
        return self._fetch.size

    def _leave(self) -> None:
        if self._reader is not None:
            self._streams.leave(self._reader)
            self._reader = None
        if self._fetch is not None:
            self._fetch.close()

    def _pieces(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Yield pieces and where they begin: all from ``start`` on, up to the end, none left out."""
        while self._reader is not None and self._reader.stream.position(self._reader) > start:
            # It was joined before the range was known, or has moved on since.
            self._leave()
            self._join(start)
        while self._reader is not None:
            try:
                piece = self._reader.stream.take(self._reader)
                if piece is None:
                    return
                self._compare(piece)
            except LeftStream as gone:
                _log.debug("going on without the others", digest=self._digest, at=gone.place.at)
                self._go_alone(gone.place)
            else:
                yield piece.place.at, piece.data
        if self._fetch is not None:
            for data in verified(self._digest, self._fetch.size, self._fetch, self._alone):
                yield self._alone.at, data

    def _compare(self, piece: Piece) -> None:
        """Raise LeftStream where the stream's bytes before ``after`` are not those that our client has."""
        after = self._after
        if after and piece.place.at <= after.at < piece.place.at + len(piece.data):
            here = piece.place.copy()
            here.add(memoryview(piece.data)[: after.at - here.at])
            if not here.is_same(after):
                raise LeftStream(after.copy())
