"""The streams of one process: which one a new reader of an uncached blob shares, or whether it needs another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from registry_cache.oci.digest import Digest
from registry_cache.pull.prefix_hash import HashedPlace
from registry_cache.pull.source import BlobSource
from registry_cache.pull.uncached.shared_window import SharedStream, StreamReader
from registry_cache.runtime import request_context

# At most so many bytes of one blob are held for late and slow readers.
WINDOW_SIZE = 16 * 1024 * 1024
# About so many bytes are in all windows of a process: on a full disk every blob has one.
ALL_WINDOWS_SIZE = 64 * 1024 * 1024

# So long a disk that has refused a blob is not asked to store it again while others stream it. If this were longer, a
# blob that is always being read would never be stored again.
REFUSED_SECONDS = 10.0


class SharedStreams:
    """The streams of this process."""

    def __init__(self, window: int = WINDOW_SIZE) -> None:
        self._window = window
        self._mutex = threading.Lock()
        self._streams: list[SharedStream] = []

    def join(
        self,
        digest: Digest,
        source: BlobSource,
        prove: Callable[[], None],
        at: int | None,
        after: HashedPlace | None = None,
    ) -> tuple[StreamReader, bool]:
        """Become a reader of a stream that holds byte ``at``, or has yet to bring it; then True if it is a new one.

        ``at`` None is any. A new one begins at ``after``, or with the first byte. ``prove`` is called before a stream
        is shared that another repository has asked for, and raises where this one has no access. Call ``leave``.
        """
        owner, proven = source.owner, False
        while True:
            with self._mutex:
                stream = self._find(digest, at, after, owner[0])
                if stream is None:
                    return self._start(
                        SharedStream(digest, source, after or HashedPlace(digest.hasher()), self._limit)
                    ), True
                if proven or stream.owner == owner:
                    return stream.join(owner), False
            prove()
            proven = True

    def leave(self, reader: StreamReader) -> None:
        """Stop being a reader; a stream without readers ends."""
        with self._mutex:
            if not reader.stream.leave(reader) and reader.stream in self._streams:
                self._streams.remove(reader.stream)

    def was_refused(self, digest: Digest) -> bool:
        """Return whether the disk has just refused the blob, and a stream can be joined instead."""
        with self._mutex:
            stream = self._find(digest, 0, None)
            return stream is not None and time.monotonic() < stream.began + REFUSED_SECONDS

    def _find(
        self, digest: Digest, at: int | None, after: HashedPlace | None, upstream: str | None = None
    ) -> SharedStream | None:
        """Return the stream that begins first of those that have what is behind ``at``, or will have it.

        Of ``upstream`` alone, if that is given: nothing proves that another one has these bytes.
        """
        fit = [stream for stream in self._streams if stream.digest == digest and stream.error is None]
        if upstream is not None:
            fit = [stream for stream in fit if stream.owner.upstream == upstream]
        if at is not None:
            fit = [stream for stream in fit if stream.begin <= at]
        if after is not None:
            # A reader that has all before it can get what follows now, and must not wait for others to come so far.
            fit = [stream for stream in fit if after.at <= stream.end + self._window]
        return min(fit, key=lambda stream: stream.begin, default=None)

    def _start(self, stream: SharedStream) -> StreamReader:
        # Before it runs: a stream without a reader ends.
        reader = stream.join(stream.owner)
        request_context.start_thread(f"stream {stream.digest}", stream.run)
        self._streams.append(stream)
        return reader

    def _limit(self) -> int:
        return min(self._window, ALL_WINDOWS_SIZE // max(1, len(self._streams)))
