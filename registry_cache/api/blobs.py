"""``/v2/<name>/blobs/<digest>``, and the bodies that go out after its view has returned."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, cast

from flask import Blueprint, Response
from werkzeug.datastructures import Headers

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
        exchange = access_log.current()
        asked = exchange.request
        target = access_log.route(upstreams, name, digest).target
        wanted = Digest.parse(digest)
        if asked.method == "HEAD":
            return _head(blobs.head(target, wanted), wanted)
        part = responses.range_header(asked, wanted) if "Range" in asked.headers else None
        if exchange.peer is not None:
            held = blobs.get_held(target, wanted, part, fetches=WANTED in asked.args)
            return _get(held, wanted, part, None)
        if redirects:
            stored = blobs.get_stored(target, wanted)
            if stored:
                return _get(stored, wanted, part, accel)
            if url := blobs.bucket_url(target, wanted):
                return _redirect(url, wanted)
        return _get(blobs.get(target, wanted, exchange.client or "", part), wanted, part, accel)

    return routes


def _redirect(url: str, digest: Digest) -> Response:
    """Return the response that sends the client to the bucket, for whole and part alike: it repeats its headers."""
    response = Response(status=307, headers=_headers(digest, Outcome.NEAR, 0))
    response.headers["Location"] = url
    # It ends after a while, and whoever has it can read the blob until then.
    response.headers["Cache-Control"] = "no-store"
    return response


def _head(head: BlobHead, digest: Digest) -> Response:
    response = _not_modified(digest, head.outcome)
    if response is None:
        response = Response(headers=_headers(digest, head.outcome, head.size))
        # Where upstream does not tell the size, say nothing: the framework would say 0.
        response.automatically_set_content_length = False
    return response


def _get(answer: BlobAnswer, digest: Digest, wanted: str | None, accel: Accel) -> Response:
    """Return the response of a GET; ``wanted`` is the Range to obey."""
    try:
        response = _not_modified(digest, answer.outcome) or _content(answer, digest, wanted, accel)
    except BaseException:
        answer.body.close()
        raise
    if not access_log.current().streams:
        answer.body.close()
    return response


def _content(answer: BlobAnswer, digest: Digest, wanted: str | None, accel: Accel) -> Response:
    """Return the response that sends the blob, or the part of it that the client wants."""
    blob, outcome, exchange = answer.body, answer.outcome, access_log.current()
    if blob.size is None and exchange.request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        # HTTP/1.0 knows the end of a body by its length or by the end of the connection, which a cut looks like, too.
        _raise_before_any_byte(blob.wait_for_size)
    size = blob.size
    # Without a size there is no telling which part a range means; the whole is a right answer to it.
    several = parse_ranges(wanted, size) if wanted is not None and size is not None else []
    if len(several) > 1:
        return _several(blob, several, digest, outcome)
    part = several[0] if several else None
    start, stop = (part.start, part.stop) if part else (0, size)
    if accel and blob.stored and size is not None and _nginx_sends(part):
        return _from_nginx(accel(digest), digest, outcome, part, (stop or 0) - start)
    from_file = stop is not None and stop - start > _SMALL and exchange.connection.sends_parts
    parts = blob.parts(start, stop, from_file=from_file)
    first = _raise_before_any_byte(lambda: next(parts, b""))
    headers = _headers(digest, outcome, None if stop is None else stop - start)
    if part:
        headers.add("Content-Range", str(part))
    if not blob.stored:
        # nginx in front must not collect a slow body before it sends it on.
        headers.add("X-Accel-Buffering", "no")
    status = 206 if part else 200
    if isinstance(first, bytes) and stop is not None and len(first) == stop - start:
        return ContentResponse([first], status, headers)
    exchange.streams = True
    # WSGI knows no PartBody; our worker does.
    body = cast("Iterator[bytes]", StreamBody(first, parts, blob, exchange))
    return ContentResponse(body, status, headers, direct_passthrough=True)


def _several(blob: PulledBlob, ranges: Sequence[ByteRange], digest: Digest, outcome: Outcome) -> Response:
    """Return the response that sends several parts, as readers of eStargz and zstd:chunked ask for them."""
    exchange, body = access_log.current(), SeveralParts(ranges)
    chunks = body.chunks(blob, _SMALL + 1 if exchange.connection.sends_parts else None)
    first = _raise_before_any_byte(lambda: next(chunks, b""))
    exchange.streams = True
    headers = _headers(digest, outcome, len(body), body.media_type)
    if not blob.stored:
        headers.add("X-Accel-Buffering", "no")
    stream = cast("Iterator[bytes]", StreamBody(first, chunks, blob, exchange))
    return ContentResponse(stream, 206, headers, direct_passthrough=True)


def _nginx_sends(part: ByteRange | None) -> bool:
    """Return whether nginx may be told to send the bytes, of which ``part`` is wanted.

    Only who comes by a unix socket can be nginx. It says "off" where it did not find the file, which was evicted after
    we had opened it. It reads the request's own Range and conditions, so these must mean the same to both.
    """
    request = access_log.current().request
    headers = request.headers
    if request.remote_addr or headers.get("X-Registry-Cache-Accel") == "off":
        return False
    same = _SAME_TO_NGINX.fullmatch(headers["Range"]) and part if "Range" in headers else True
    return bool(same) and not any(condition in headers for condition in ("If-Match", "If-Unmodified-Since"))


def _from_nginx(uri: str, digest: Digest, outcome: Outcome, part: ByteRange | None, length: int) -> Response:
    body = ForwardedBody(access_log.current(), length)
    headers = _headers(digest, outcome, 0)
    # nginx adds these itself and keeps ours: a client would get them twice.
    for name in ("Accept-Ranges", "Cache-Control", "Content-Disposition"):
        del headers[name]
    headers.add("X-Accel-Redirect", uri)
    access_log.current().streams = True
    return ContentResponse(body, 206 if part else 200, headers, direct_passthrough=True)


def _not_modified(digest: Digest, outcome: Outcome) -> Response | None:
    if not responses.not_modified(access_log.current().request, digest):
        return None
    response = ContentResponse(status=304, headers=responses.immutable_headers(digest, outcome))
    access_log.current().outcome = outcome
    return response


def _headers(
    digest: Digest, outcome: Outcome, length: int | None, media_type: str = "application/octet-stream"
) -> Headers:
    access_log.current().outcome = outcome
    headers = responses.immutable_headers(digest, outcome)
    # None of these is there yet, so they are added without a search.
    headers.add("Content-Type", media_type)
    headers.add("Accept-Ranges", "bytes")
    if length is not None:
        headers.add("Content-Length", str(length))
    return headers


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
