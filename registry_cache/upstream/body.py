"""Read whole bodies within a size and a time: documents, tokens, the reason in an error."""

from __future__ import annotations

import contextlib
import threading
import time
import zlib
from collections.abc import Callable, Iterator

import requests

from registry_cache.errors import UpstreamError, UpstreamTimeout, UpstreamUnavailable
from registry_cache.runtime import metrics
from registry_cache.upstream.errors import translate_http_errors
from registry_cache.upstream.large_documents import SMALL_SIZE, LargeTurn
from registry_cache.upstream.read_size import is_in_small_pieces

# Of one read: decoding more at once would hold up all others of a worker.
_MAX_READ = 64 * 1024
_MAX_TURN_SECONDS = 0.005

# No encoding begins so: what is labelled as one is none, as storage keeps what an upload said (P31).
JSON_BEGINS = b"{"

# What stands in Content-Encoding and is none: S3 keeps "aws-chunked" from an upload, others write a charset there.
NO_ENCODINGS = frozenset(("", "identity", "none", "aws-chunked", "binary", "7bit", "8bit", "utf-8", "utf8", "us-ascii"))


def read_body(
    upstream: str,
    what: str,
    response: requests.Response,
    limit: int,
    timeout_seconds: float,
    turn: LargeTurn | None = None,
) -> bytes:
    """Return at most ``limit`` bytes of the decoded body; ``what`` completes "… while we". Closes nothing.

    A large one waits for its ``turn``. Raises TooManyRequests where that does not come, UpstreamTimeout after
    ``timeout_seconds``, UpstreamUnavailable where the connection breaks.
    """
    # Only this thread reads and closes: under gevent, closing what another greenlet reads is an error. The timer shuts
    # the connection down for reading instead, which ends a read however slowly bytes arrive.
    deadline = time.monotonic() + timeout_seconds
    timer = threading.Timer(timeout_seconds, _shut_down, [response])
    timer.daemon = True
    timer.start()
    try:
        with translate_http_errors(upstream, what):
            data = _read_until(deadline, response, limit, turn)
    except UpstreamError as error:
        if time.monotonic() < deadline:
            raise
        raise timed_out(upstream, what, timeout_seconds) from error
    finally:
        timer.cancel()
    # After the shutdown, a body looks as if it had ended.
    if time.monotonic() >= deadline:
        raise timed_out(upstream, what, timeout_seconds)
    return data


def read_document(
    upstream: str,
    what: str,
    response: requests.Response,
    limit: int,
    timeout_seconds: float,
    count: Callable[[str, int], None] = metrics.count_fetched_bytes,
    turn: LargeTurn | None = None,
) -> bytes:
    """Return the whole body of a manifest or a list; ``what`` names it. ``count`` is told how many bytes came.

    Raises UpstreamError where it is over ``limit`` bytes, UpstreamUnavailable where it is cut, UpstreamTimeout.
    """
    data = read_body(upstream, f"read {what}", response, limit + 1, timeout_seconds, turn)
    count(upstream, len(data))
    if len(data) > limit:
        # An error remembers this frame, and all who share it keep it for a while.
        del data
        raise UpstreamError(f"{what} is over {limit // 2**20} MiB at {upstream}: more than this cache takes")
    length = content_length(response)
    if length is not None and len(data) != length and not encoding_of(response):
        raise UpstreamUnavailable(f"{upstream} sent {len(data)} of {length} bytes of {what}")
    return data


def content_length(response: requests.Response) -> int | None:
    """Return what Content-Length says, in bytes; None where it says nothing sensible."""
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def encoding_of(response: requests.Response) -> str:
    """Return how the body of ``response`` is encoded, in lower case; "" for not at all, whatever a label says (P31)."""
    return _without_labels(response.headers.get("Content-Encoding", ""))


def _without_labels(encoding: str) -> str:
    said = (each.strip().lower() for each in encoding.split(","))
    return ", ".join(each for each in said if each not in NO_ENCODINGS)


def timed_out(upstream: str, what: str, seconds: float) -> UpstreamTimeout:
    return UpstreamTimeout(f"{upstream} took more than {seconds:g} s while we {what}")


def _read_until(deadline: float, response: requests.Response, limit: int, turn: LargeTurn | None) -> bytes:
    data, wire, reads, inflate = bytearray(), 0, 0, None
    began = time.monotonic()
    # What grows to nothing is bounded as well.
    while len(data) < limit and wire < limit and (now := time.monotonic()) < deadline:
        chunk = response.raw.read1(min(limit - wire, _MAX_READ), decode_content=False)
        if not chunk:
            break
        if not wire and chunk[:1] != JSON_BEGINS:
            inflate = inflater(encoding_of(response))
        wire, reads = wire + len(chunk), reads + 1
        if is_in_small_pieces(reads, wire):
            raise UpstreamError("the body comes in pieces of a few bytes")
        # A few bytes may decode to all that is allowed: no more of it at once than is read at once.
        pieces = _inflated(inflate, chunk) if inflate else (chunk,)
        for piece in pieces:
            data += piece
            if turn and len(data) > SMALL_SIZE:
                turn.take()
            if len(data) >= limit:
                return bytes(data[:limit])
        if now - began > _MAX_TURN_SECONDS:
            # Small chunks that are all there already make no read wait.
            time.sleep(0)
            began = time.monotonic()
    return bytes(data)


def _inflated(inflate: Callable[[bytes, int], bytes], chunk: bytes) -> Iterator[bytes]:
    piece = inflate(chunk, _MAX_READ)
    while piece:
        yield piece
        piece = inflate(b"", _MAX_READ)


def inflater(encoding: str) -> Callable[[bytes, int], bytes] | None:
    """Return what decodes a body piece by piece, each to so many bytes at most; None for one that is not encoded.

    We ask for none (``identity``), but some servers compress all the same. Raises UpstreamError for what is not known.
    """
    match _without_labels(encoding):
        case "":
            return None
        case "gzip" | "x-gzip":
            bits = 16 + zlib.MAX_WBITS
        case "deflate":
            bits = zlib.MAX_WBITS
        case _:
            raise UpstreamError("the body is encoded in a way that nobody has asked for")
    stream = zlib.decompressobj(bits)

    def inflate(chunk: bytes, most: int) -> bytes:
        try:
            # What is left over would not fit anyway.
            return stream.decompress(stream.unconsumed_tail + chunk, most)
        except zlib.error:
            raise UpstreamError("the body is not encoded as it says") from None

    return inflate


def _shut_down(response: requests.Response) -> None:
    # urllib3 before 2.3 has no shutdown; then the sockets' time-outs and the clock between reads bound the wait.
    with contextlib.suppress(AttributeError, OSError, RuntimeError, ValueError):
        response.raw.shutdown()
