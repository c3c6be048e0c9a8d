"""Blobs with a Content-Encoding although we ask for none: are they what was sent, or what that decodes to?

Both happen (P31): storage labels a layer as ``gzip`` because it is a ``tar.gz``, and a server in front compresses what
it sends. Only the digest proves which; until then a size that is known makes one of them likely.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import requests
from cachetools import LRUCache

from registry_cache.errors import UpstreamError, UpstreamUnavailable
from registry_cache.oci.byte_range import parse_content_range
from registry_cache.upstream.blob_addresses import Blob
from registry_cache.upstream.body import content_length, encoding_of

# Decoded at once: more would hold up all others of a worker.
_MAX_PIECE = 64 * 1024
# Decoded, of a blob whose size nobody knows: a few megabytes of gzip would fill any disk.
MAX_UNANNOUNCED_SIZE = 1024**3
# Decoded, of a blob of any size: so much, and so many times what has come. Layers that somebody compresses on their way
# become a few times smaller; ten megabytes that are to fill a disk grow to a thousand times as much.
FREE_SIZE, MAX_GROWTH = 256 * 1024 * 1024, 100
# Looked at once of what came: each member of gzip copies what is behind it, and one of twenty bytes may hold nothing.
_SLICE = 16 * 1024
_MAX_REMEMBERED = 4096
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read a body: ``decodes`` it or takes it as sent. ``size`` of the blob in bytes, None where that is not
    known; ``is_guess``: nothing but the digest will tell whether it is the right way; ``is_blind``: and not even two
    sizes hint at it.
    """

    decodes: bool
    size: int | None
    is_guess: bool
    is_blind: bool = False


class EncodedBlobs:
    """What is remembered of the blobs of one upstream: by which reading they turned out to be wrong."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._guessed: LRUCache[Blob, bool] = LRUCache(_MAX_REMEMBERED)
        self._other: LRUCache[Blob, bool] = LRUCache(_MAX_REMEMBERED)

    def reading(self, blob: Blob, response: requests.Response, size: Callable[[], int | None]) -> Reading | None:
        """Return how to read ``response``; None where it is not encoded, or in a way that we cannot decode.

        ``size`` returns that of the blob in bytes, None where nobody knows it.
        """
        if encoding_of(response) not in _WINDOWS:
            return None
        sent, known = _size_as_sent(response), size()
        with self._mutex:
            decodes = self._other.get(blob)
            if decodes is None and known is not None and known == sent:
                return Reading(False, known, is_guess=False)
            if decodes is None:
                # Two sizes that differ cannot both be the blob's. Where nothing tells, it is mostly a mere label,
                # and a body that is decoded wrongly may break off, which looks like a cut.
                decodes = known is not None and sent is not None
            self._guessed[blob] = decodes
        is_blind = known is None or sent is None
        return Reading(decodes, known if decodes else sent, is_guess=True, is_blind=is_blind)

    def record_wrong(self, blob: Blob) -> None:
        """The bytes were not the blob: if they were read by a guess, the next one is read in the other way."""
        with self._mutex:
            decodes = self._guessed.pop(blob, None)
            if decodes is not None:
                self._other[blob] = not decodes


def decoded(chunks: Iterable[bytes], encoding: str, size: int | None) -> Iterator[bytes]:
    """Yield what ``chunks`` decode to, at most ``size`` bytes, in pieces.

    Raises UpstreamUnavailable where they are not encoded so, or end too early, UpstreamError where there are too many.
    """
    left = MAX_UNANNOUNCED_SIZE if size is None else size
    stream = zlib.decompressobj(_WINDOWS[encoding])
    came = grown = 0
    for chunk in _slices(chunks):
        rest, piece = chunk, b""
        came += len(chunk)
        # What is in the stream already comes without any rest.
        while rest or len(piece) == _MAX_PIECE:
            if stream.eof:
                # Members of gzip follow each other (RFC 1952 §2.2).
                stream = zlib.decompressobj(_WINDOWS[encoding])
            piece = _inflate(stream, rest)
            rest = stream.unconsumed_tail or stream.unused_data
            left, grown = left - len(piece), grown + len(piece)
            _refuse_bomb(came, grown, is_endless=size is None and left < 0)
            if piece:
                yield piece if left >= 0 else piece[:left]
            if left < 0:
                return
    if not stream.eof:
        raise UpstreamUnavailable("an encoded body ended before its end")


def _slices(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        for start in range(0, len(chunk), _SLICE):
            yield chunk[start : start + _SLICE]
            # Where it decodes to nothing, nobody waits for anything.
            time.sleep(0)


def _refuse_bomb(came: int, grown: int, *, is_endless: bool) -> None:
    if is_endless:
        raise UpstreamError(f"an encoded blob of unknown size has more than {MAX_UNANNOUNCED_SIZE} bytes")
    if grown > FREE_SIZE + MAX_GROWTH * came:
        raise UpstreamError(f"an encoded blob grows to more than {MAX_GROWTH} times of what is sent")


def _inflate(stream: zlib._Decompress, data: bytes) -> bytes:
    try:
        return stream.decompress(data, _MAX_PIECE)
    except zlib.error:
        raise UpstreamUnavailable("the body is not encoded as it says") from None


def _size_as_sent(response: requests.Response) -> int | None:
    if response.status_code != 206:
        return content_length(response)
    part = parse_content_range(response.headers.get("Content-Range"))
    return part[2] if part else None
