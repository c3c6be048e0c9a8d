"""Bodies that go out after the view has returned."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Protocol

from registry_cache.api.access_log import Exchange
from registry_cache.pull.transfer.progress import Cut, FilePart
from registry_cache.runtime import metrics


class _Closable(Protocol):
    def close(self) -> None: ...


class ForwardedBody:
    """No bytes of ours: nginx sends ``size`` in their place."""

    def __init__(self, exchange: Exchange, size: int) -> None:
        self._exchange = exchange
        self._exchange.sent = size

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        """Called once, by the server."""
        self._exchange.finish()


class PartBody:
    """A part of a file, for a server that sends it from the descriptor instead of taking bytes from us."""

    __slots__ = ("_exchange", "_part", "length", "offset")

    def __init__(self, part: FilePart, exchange: Exchange) -> None:
        self._part = part
        self._exchange = exchange
        self.offset = part.offset
        self.length = part.length

    def fileno(self) -> int:
        return self._part.file.fileno()

    def count_sent(self, size: int) -> None:
        """Called by the worker for what it sent."""
        self._exchange.sent += size

    def fell_short(self, size: int) -> None:
        """Called by the worker where the disk gave it ``size`` bytes and no more: the rest comes by what follows."""
        self._part.sent = size


class StreamBody:
    """The chunks of a blob. Its first chunk is there before it is made, so that an error has a status."""

    def __init__(
        self, first: bytes | FilePart, chunks: Iterator[bytes | FilePart], blob: _Closable, exchange: Exchange
    ) -> None:
        self._first: bytes | FilePart | None = first
        self._chunks = chunks
        self._blob = blob
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes | PartBody]:
        return self

    def __next__(self) -> bytes | PartBody:
        """Return the next chunk; ConnectionResetError where the body cannot be completed, which cuts the connection."""
        try:
            chunk = next(self._chunks) if self._first is None else self._first
        except Cut as cut:
            self._exchange.error = cut.error.message
            metrics.failed(cut.error)
            # The one error that the server takes for an end of the connection without a traceback of its own.
            raise ConnectionResetError(errno.ECONNRESET, cut.error.message) from cut
        self._first = None
        if isinstance(chunk, FilePart):
            return PartBody(chunk, self._exchange)
        self._exchange.sent += len(chunk)
        return chunk

    def close(self) -> None:
        """Called once, by the server, whether or not everything was sent."""
        self._blob.close()
        self._exchange.finish()
