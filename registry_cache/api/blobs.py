"""``/v2/<name>/blobs/<digest>``, and the bodies that go out after its view has returned."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, cast

from flask import Blueprint, Response, request

from registry_cache.api import access_log, responses
from registry_cache.api.access_log import Exchange
from registry_cache.api.multipart import SeveralParts
from registry_cache.api.responses import ContentResponse
from registry_cache.oci.byte_range import ByteRange, parse_ranges
from registry_cache.oci.digest import Digest
from registry_cache.pull.blob import BlobAnswer, BlobHead, BlobPull
from registry_cache.pull.blob_body import Cut, FilePart, PulledBlob
from registry_cache.pull.manifest_body import ManifestFile
from registry_cache.pull.outcome import Outcome
from registry_cache.pull.routing import Upstreams
from registry_cache.runtime import metrics
from registry_cache.runtime.seals import WANTED

# Up to this size a read, and one send together with the head, cost less than the calls around a sendfile.
_SMALL = 32 * 1024

# Ranges that nginx reads as we do; it takes longer numbers for a range behind the end.
_SAME_TO_NGINX = re.compile(r"bytes=(?:[0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})", re.ASCII)

# What a whole blob is called for nginx in front, which sends it then; None where there is no nginx.
Accel = Callable[[Digest], str] | None

_T = TypeVar("_T")


def blueprint(upstreams: Upstreams, blobs: BlobPull, accel: Accel = None, *, redirects: bool = False) -> Blueprint:
    """Return the routes of blobs. ``redirects``: clients are sent to the bucket for what is there and not here."""
    routes = Blueprint("blobs", __name__)

    @routes.get("/v2/<path:name>/blobs/<digest>")
    def blob(name: str, digest: str) -> Response:
        target = access_log.route(upstreams, name, digest).target
        wanted = Digest.parse(digest)
        if request.method == "HEAD":
            return _head(blobs.head(target, wanted), wanted)
        if redirects and access_log.current().peer is None:
            stored = blobs.get_stored(target, wanted)
            if stored:
                return _get(stored, wanted, accel)
            if url := blobs.bucket_url(target, wanted):
                return _redirect(url, wanted)
        part = responses.range_header(request, wanted) if "Range" in request.headers else None
        if access_log.current().peer is not None:
            return _get(blobs.get_held(target, wanted, part, fetches=WANTED in request.args), wanted, None)
        return _get(blobs.get(target, wanted, access_log.current().client or "", part), wanted, accel)

    return routes


def _redirect(url: str, digest: Digest) -> Response:
    """Return the response that sends the client to the bucket, for whole and part alike: it repeats its headers."""
    response = Response(status=307)
    _add_headers(response, digest, Outcome.NEAR, 0)
    response.headers["Location"] = url
    # It ends after a while, and whoever has it can read the blob until then.
    response.headers["Cache-Control"] = "no-store"
    return response


def _head(head: BlobHead, digest: Digest) -> Response:
    response = _not_modified(digest, head.outcome)
    if response is None:
        response = Response()
        # Where upstream does not tell the size, say nothing: the framework would say 0.
        response.automatically_set_content_length = False
        _add_headers(response, digest, head.outcome, head.size)
    return response


def _get(answer: BlobAnswer, digest: Digest, accel: Accel) -> Response:
    try:
        response = _not_modified(digest, answer.outcome) or _content(answer.body, digest, answer.outcome, accel)
    except BaseException:
        answer.body.close()
        raise
    if not access_log.current().streams:
        answer.body.close()
    return response


def _content(blob: PulledBlob, digest: Digest, outcome: Outcome, accel: Accel) -> Response:
    """Return the response that sends the blob, or the part of it that the client wants."""
    if blob.size is None and request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        # HTTP/1.0 knows the end of a body by its length or by the end of the connection, which a cut looks like, too.
        _raise_before_any_byte(blob.wait_for_size)
    size, wanted = blob.size, responses.range_header(request, digest)
    # Without a size there is no telling which part a range means; the whole is a right answer to it.
    several = parse_ranges(wanted, size) if wanted is not None and size is not None else []
    if len(several) > 1:
        return _several(blob, several, digest, outcome)
    part = several[0] if several else None
    start, stop = (part.start, part.stop) if part else (0, size)
    if accel and blob.stored and size is not None and _nginx_sends(part):
        return _from_nginx(accel(digest), digest, outcome, part, (stop or 0) - start)
    from_file = stop is not None and stop - start > _SMALL and access_log.current().connection.sends_parts
    parts = blob.parts(start, stop, from_file=from_file)
    first = _raise_before_any_byte(lambda: next(parts, b""))
    if isinstance(first, bytes) and stop is not None and len(first) == stop - start:
        response: Response = ContentResponse(first)
    else:
        access_log.current().streams = True
        # WSGI knows no PartBody; our worker does.
        body = cast("Iterator[bytes]", StreamBody(first, parts, blob, access_log.current()))
        response = ContentResponse(body, direct_passthrough=True)
    _add_headers(response, digest, outcome, None if stop is None else stop - start)
    if part:
        response.status_code = 206
        response.headers["Content-Range"] = str(part)
    if not blob.stored:
        # nginx in front must not collect a slow body before it sends it on.
        response.headers["X-Accel-Buffering"] = "no"
    return response


def _several(blob: PulledBlob, ranges: Sequence[ByteRange], digest: Digest, outcome: Outcome) -> Response:
    """Return the response that sends several parts, as readers of eStargz and zstd:chunked ask for them."""
    exchange, body = access_log.current(), SeveralParts(ranges)
    chunks = body.chunks(blob, _SMALL + 1 if exchange.connection.sends_parts else None)
    first = _raise_before_any_byte(lambda: next(chunks, b""))
    exchange.streams = True
    response = ContentResponse(
        cast("Iterator[bytes]", StreamBody(first, chunks, blob, exchange)), 206, direct_passthrough=True
    )
    _add_headers(response, digest, outcome, len(body))
    response.headers["Content-Type"] = body.media_type
    if not blob.stored:
        response.headers["X-Accel-Buffering"] = "no"
    return response


def _nginx_sends(part: ByteRange | None) -> bool:
    """Return whether nginx may be told to send the bytes, of which ``part`` is wanted.

    Only who comes by a unix socket can be nginx. It says "off" where it did not find the file, which was evicted after
    we had opened it. It reads the request's own Range and conditions, so these must mean the same to both.
    """
    headers = request.headers
    if request.remote_addr or headers.get("X-Registry-Cache-Accel") == "off":
        return False
    same = _SAME_TO_NGINX.fullmatch(headers["Range"]) and part if "Range" in headers else True
    return bool(same) and not any(condition in headers for condition in ("If-Match", "If-Unmodified-Since"))


def _from_nginx(uri: str, digest: Digest, outcome: Outcome, part: ByteRange | None, length: int) -> Response:
    body = ForwardedBody(access_log.current(), length)
    response = ContentResponse(body, 206 if part else 200, direct_passthrough=True)
    _add_headers(response, digest, outcome, 0)
    # nginx adds these itself and keeps ours: a client would get them twice.
    for name in ("Accept-Ranges", "Cache-Control", "Content-Disposition"):
        del response.headers[name]
    response.headers["X-Accel-Redirect"] = uri
    access_log.current().streams = True
    return response


def _not_modified(digest: Digest, outcome: Outcome) -> Response | None:
    if not responses.not_modified(request, digest):
        return None
    response = ContentResponse(status=304, headers=responses.immutable_headers(digest, outcome))
    access_log.current().outcome = outcome
    return response


def _add_headers(response: Response, digest: Digest, outcome: Outcome, length: int | None) -> None:
    response.headers["Content-Type"] = "application/octet-stream"
    response.headers["Accept-Ranges"] = "bytes"
    if length is not None:
        response.content_length = length
    response.headers.extend(responses.immutable_headers(digest, outcome))
    access_log.current().outcome = outcome


def _raise_before_any_byte(act: Callable[[], _T]) -> _T:
    """Return ``act()``; raise the error of a Cut: before the first byte it can still have a status."""
    try:
        return act()
    except Cut as cut:
        raise cut.error from cut


class ForwardedBody:
    """An empty body: nginx sends ``size`` bytes in its place."""

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
        """Called by the worker where the disk gave it only ``size`` bytes: the rest comes with the next part."""
        self._part.sent = size


class StreamBody:
    """The parts of a blob. The first one was taken before, so that an error could still have a status."""

    def __init__(
        self,
        first: bytes | FilePart,
        chunks: Iterator[bytes | FilePart],
        blob: PulledBlob | ManifestFile,
        exchange: Exchange,
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
            self._exchange.failure = type(cut.error).__name__
            metrics.count_error(cut.error)
            # The only error at which the server ends the connection without logging a traceback.
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
