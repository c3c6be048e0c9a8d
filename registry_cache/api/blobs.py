"""``/v2/<name>/blobs/<digest>``"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import cast

from flask import Blueprint, Request, Response, request

from registry_cache.api import access_log, responses
from registry_cache.api.bodies import ForwardedBody, StreamBody
from registry_cache.api.responses import ContentResponse
from registry_cache.errors import UpstreamError
from registry_cache.oci.byte_range import ByteRange, parse_range
from registry_cache.oci.digest import Digest
from registry_cache.pull.blob import BlobPull, GrowingBlob, WholeBlob
from registry_cache.pull.outcome import Outcome
from registry_cache.pull.routing import Target, Upstreams
from registry_cache.pull.transfer.progress import Cut, FilePart
from registry_cache.pull.uncached.body import UncachedBlob
from registry_cache.runtime.connection import connection_of

# Up to this a read, and one send with the head, cost less than the calls around a sendfile.
_SMALL = 32 * 1024

# Ranges that nginx reads as we do; longer numbers are behind any end for it.
_SAME_TO_NGINX = re.compile(r"bytes=(?:[0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})", re.ASCII)

# What a whole blob is called for nginx in front, which sends it then; None where there is no nginx.
Accel = Callable[[Digest], str] | None


def blueprint(upstreams: Upstreams, blobs: BlobPull, accel: Accel = None) -> Blueprint:
    """Return the routes of blobs."""
    routes = Blueprint("blobs", __name__)

    @routes.get("/v2/<path:name>/blobs/<digest>")
    def blob(name: str, digest: str) -> Response:
        target = access_log.target(upstreams, name, digest)
        wanted = Digest.parse(digest)
        return _head(blobs, target, wanted) if request.method == "HEAD" else _get(blobs, target, wanted, accel)

    return routes


def _head(blobs: BlobPull, target: Target, digest: Digest) -> Response:
    head = blobs.head(target.upstream, target.repository, digest)
    response = _not_modified(digest, head.outcome)
    if response is None:
        response = Response()
        # Of a size that upstream does not tell nothing is said; the framework would say 0.
        response.automatically_set_content_length = False
        _blob_headers(response, digest, head.outcome, head.size)
    return response


def _get(blobs: BlobPull, target: Target, digest: Digest, accel: Accel) -> Response:
    answer = blobs.get(target.upstream, target.repository, digest)
    if isinstance(answer.body, WholeBlob):
        return _not_modified(digest, answer.outcome) or _whole(answer.body, digest, answer.outcome, accel)
    try:
        response = _not_modified(digest, answer.outcome)
        if response is None:
            return _from_stream(answer.body, digest, answer.outcome)
    except BaseException:
        answer.body.close()
        raise
    answer.body.close()
    return response


def _whole(blob: WholeBlob, digest: Digest, outcome: Outcome, accel: Accel) -> Response:
    part = parse_range(responses.range_header(request, digest), blob.size)
    if accel and _nginx_sends(part):
        return _from_nginx(accel(digest), blob, digest, outcome, part)
    return _from_file(blob, digest, outcome, part)


def _nginx_sends(part: ByteRange | None) -> bool:
    """Tell whether nginx may be told to send the bytes, of which ``part`` is wanted.

    Only who comes by a unix socket can be nginx. It says "off" where it did not find the file, which was evicted after
    we had opened it. It reads the request's own Range and conditions, so these must mean the same to both.
    """
    headers = request.headers
    if request.remote_addr or headers.get("X-Registry-Cache-Accel") == "off":
        return False
    same = _SAME_TO_NGINX.fullmatch(headers["Range"]) and part if "Range" in headers else True
    return bool(same) and not any(condition in headers for condition in ("If-Match", "If-Unmodified-Since"))


def _from_nginx(uri: str, blob: WholeBlob, digest: Digest, outcome: Outcome, part: ByteRange | None) -> Response:
    body = ForwardedBody(access_log.current(), part.stop - part.start if part else blob.size)
    response = ContentResponse(body, 206 if part else 200, direct_passthrough=True)
    _blob_headers(response, digest, outcome, 0)
    # nginx keeps these of ours and adds its own: a client would get them twice.
    del response.headers["Accept-Ranges"], response.headers["Cache-Control"]
    response.headers["X-Accel-Redirect"] = uri
    access_log.current().streams = True
    return response


def _from_file(blob: WholeBlob, digest: Digest, outcome: Outcome, part: ByteRange | None) -> Response:
    start, stop = (part.start, part.stop) if part else (0, blob.size)
    in_parts = stop - start > _SMALL and _sends_parts(request)
    chunks = blob.parts(start, stop) if in_parts else blob.chunks(start, stop)
    first = _first(chunks)
    if isinstance(first, bytes) and len(first) == stop - start:
        response: Response = ContentResponse(first)
    else:
        response = _streamed(StreamBody(first, chunks, blob, access_log.current()))
    _part_headers(response, digest, outcome, blob.size, part)
    return response


def _from_stream(blob: GrowingBlob | UncachedBlob, digest: Digest, outcome: Outcome) -> Response:
    if blob.size is None and request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        # It knows the end of a body by its length or by the end of the connection, and a cut looks like that.
        _know_size(blob)
    # Without a size there is no telling which part a range means; the whole is a right answer to it.
    part = parse_range(responses.range_header(request, digest), blob.size) if blob.size is not None else None
    start, stop = (part.start, part.stop) if part else (0, blob.size)
    chunks: Iterator[bytes | FilePart]
    if isinstance(blob, GrowingBlob) and stop is not None and _sends_parts(request):
        chunks = blob.parts(start, stop)
    else:
        chunks = blob.chunks(start, stop)
    response = _streamed(StreamBody(_first(chunks), chunks, blob, access_log.current()))
    _part_headers(response, digest, outcome, blob.size, part)
    # nginx in front must not collect a slow body before it sends it on.
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _first(chunks: Iterator[bytes | FilePart]) -> bytes | FilePart:
    """Return the first of ``chunks``, b"" where there is none. Raises what cut them: it can still have a status."""
    try:
        return next(chunks, b"")
    except Cut as cut:
        raise cut.error from cut


def _streamed(body: StreamBody) -> Response:
    access_log.current().streams = True
    # A PartBody among the chunks is between us and our worker, whatever WSGI knows.
    return ContentResponse(cast("Iterator[bytes]", body), direct_passthrough=True)


def _sends_parts(request: Request) -> bool:
    """Tell whether the server sends parts of files by itself: our worker does, where there is no TLS."""
    return connection_of(request.environ).sends_parts


def _know_size(blob: GrowingBlob | UncachedBlob) -> None:
    if isinstance(blob, UncachedBlob):
        raise UpstreamError("upstream does not tell the size of this blob: ask by HTTP/1.1")
    try:
        blob.wait_until_whole()
    except Cut as cut:
        raise cut.error from cut


def _not_modified(digest: Digest, outcome: Outcome) -> Response | None:
    if not responses.not_modified(request, digest):
        return None
    response = ContentResponse(status=304, headers=responses.immutable_headers(digest, outcome))
    access_log.current().outcome = outcome
    return response


def _part_headers(
    response: Response, digest: Digest, outcome: Outcome, size: int | None, part: ByteRange | None
) -> None:
    _blob_headers(response, digest, outcome, part.stop - part.start if part else size)
    if part:
        response.status_code = 206
        response.headers["Content-Range"] = str(part)


def _blob_headers(response: Response, digest: Digest, outcome: Outcome, length: int | None) -> None:
    response.headers["Content-Type"] = "application/octet-stream"
    response.headers["Accept-Ranges"] = "bytes"
    if length is not None:
        response.content_length = length
    response.headers.extend(responses.immutable_headers(digest, outcome))
    access_log.current().outcome = outcome
