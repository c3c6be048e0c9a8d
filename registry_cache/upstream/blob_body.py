"""The bytes of a blob as they arrive from upstream."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import requests

from registry_cache.errors import UpstreamError
from registry_cache.oci.byte_range import parse_content_range, parse_unsatisfied
from registry_cache.oci.digest import Digest
from registry_cache.runtime import metrics
from registry_cache.runtime.unwanted_reads import ended_by
from registry_cache.upstream.body import content_length, encoding_of
from registry_cache.upstream.encoded_blobs import Reading, decoded
from registry_cache.upstream.errors import translate_http_errors
from registry_cache.upstream.network.tcp_ack import READ_AHEAD, acknowledge_unread
from registry_cache.upstream.read_size import ReadSize
from registry_cache.upstream.registry_api import NO_RANGES


@dataclass(slots=True)
class BlobBody:
    """A blob on its way, from byte ``start`` on; ``size`` of the whole in bytes, None where upstream does not say.

    Close it; iterate it once. The bytes may end early, and may be wrong. ``skip`` bytes of the response come before
    ``start``; without a response there are no bytes. ``stop``: where the response says that it ends. ``is_inside``: it
    is from a network that clients may not see, so no byte of it is for them before all are proven. ``decodes``: the
    response is encoded, and the blob what it decodes to; ``is_guess``: whether it is so is not known, and if
    ``is_blind`` not even likely. ``on_broken`` is called where it breaks.
    """

    upstream: str
    response: requests.Response | None
    start: int
    size: int | None
    skip: int = 0
    stop: int | None = None
    is_inside: bool = False
    decodes: bool = False
    is_guess: bool = False
    is_blind: bool = False
    on_broken: Callable[[], None] = lambda: None
    count: Callable[[str, int], None] = metrics.count_fetched_bytes
    _read_size: ReadSize = field(default_factory=ReadSize)
    _is_aborted: bool = False

    def __iter__(self) -> Iterator[bytes]:
        """Yield bytes as they arrive. Raises UpstreamUnavailable where the connection breaks, UpstreamTimeout."""
        skip, chunks = self.skip, iter(self._read, b"")
        if self.decodes and self.response is not None:
            chunks = decoded(chunks, encoding_of(self.response), self.size)
        with ended_by(self._abort):
            for chunk in chunks:
                if skip >= len(chunk):
                    skip -= len(chunk)
                    continue
                yield chunk[skip:] if skip else chunk
                skip = 0

    def close(self) -> None:
        self._read_size.close()
        if self.response is not None:
            self.response.close()

    def _abort(self) -> None:
        """End the read that waits. A response that has ended is left alone: its connection may serve another by now."""
        if self.response is None or self.response.raw.closed:
            return
        self._is_aborted = True
        # By another descriptor, for http.client has let go of the socket of a connection that ends with its response.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self.response.raw.fileno())) as connected:
            connected.shutdown(socket.SHUT_RDWR)

    def _read(self) -> bytes:
        if self.response is None:
            return b""
        if self._read_size.reads_ahead:
            _acknowledge_unread(self.response, 1)
        # read1 returns what is there; read would wait for all it asked for while a client waits for the first byte.
        try:
            with translate_http_errors(self.upstream, "read a blob"):
                data = bytes(self.response.raw.read1(self._read_size.size, decode_content=False))
                if not data and self._is_aborted:
                    # Without a length, that would be the blob's end.
                    raise ConnectionAbortedError("nobody wants the rest")
        except UpstreamError:
            self.on_broken()
            raise
        self._read_size.record(len(data))
        if self._read_size.reads_ahead:
            _acknowledge_unread(self.response, READ_AHEAD)
        self.count(self.upstream, len(data))
        return data


def _acknowledge_unread(response: requests.Response, size: int) -> None:
    """As ``acknowledge_unread``. A response that has ended is left alone: its connection may serve another by now."""
    connection = response.raw.connection
    # Without a socket the server has said that it closes after this response.
    if connection is not None and connection.sock is not None:
        acknowledge_unread(connection.sock, size)


def serves_range(response: requests.Response, start: int) -> bool:
    """Whether ``response`` is of use to whoever asked for the bytes from ``start`` on.

    Bytes of another range would spoil what is there already. And a registry that has no first byte to give has none at
    all, or is confused by ranges; so is one that has none behind ``start``, and says that the blob goes on there.
    """
    if response.status_code == 206:
        part = parse_content_range(response.headers.get("Content-Range"))
        return part is not None and part[0] == start
    if response.status_code == 416:
        size = parse_unsatisfied(response.headers.get("Content-Range"))
        return start > 0 and (size is None or size <= start)
    return response.status_code not in NO_RANGES


def blob_body(
    name: str,
    digest: Digest,
    response: requests.Response,
    start: int,
    asked: int,
    stop: int | None,
    reading: Reading | None = None,
) -> BlobBody:
    """Return the bytes from ``start`` on of a ``response`` to a request for those from ``asked`` up to ``stop``.

    ``reading``: how, if it is encoded. Raises UpstreamError where the response has another range; then closes it.
    """
    length = content_length(response)
    if response.status_code == 416:
        # Nothing behind ``start``: what we have may be the whole, and the digest decides.
        response.close()
        return BlobBody(name, None, start, start)
    if response.status_code != 206:
        # The range was ignored: everything comes again, and what we have is skipped.
        if reading and reading.decodes:
            return BlobBody(name, response, start, reading.size, skip=start, decodes=True)
        return BlobBody(name, response, start, length, skip=start)
    part = parse_content_range(response.headers.get("Content-Range"))
    if part is None or part[0] != asked:
        response.close()
        raise UpstreamError(f"{name} answered another range than from {asked} for {digest}")
    # An open range that does not tell the whole size tells it by its length.
    end = None if length is None or stop is not None else asked + length
    size = end if part[2] is None else part[2]
    return BlobBody(name, response, start, size, skip=start - asked, stop=part[1])
