"""``/v2/<name>/blobs/<digest>``"""

from __future__ import annotations

from flask import Blueprint, Response, request
from werkzeug.wsgi import FileWrapper

from registry_cache.api import exchange, responses
from registry_cache.api.bodies import FileBody, StreamBody
from registry_cache.errors import UpstreamError
from registry_cache.oci.byte_range import ByteRange, parse_range
from registry_cache.oci.digest import Digest
from registry_cache.pull.blob import BlobPull, GrowingBlob, WholeBlob
from registry_cache.pull.feed import Cut
from registry_cache.pull.outcome import Outcome
from registry_cache.pull.passthrough import UncachedBlob
from registry_cache.pull.target import Target, Upstreams

# What the server reads and sends at once where it cannot send from the descriptor (TLS).
_BLOCK = 256 * 1024


def blueprint(upstreams: Upstreams, blobs: BlobPull) -> Blueprint:
    """Return the routes of blobs."""
    routes = Blueprint("blobs", __name__)

    @routes.get("/v2/<path:name>/blobs/<digest>")
    def blob(name: str, digest: str) -> Response:
        target = exchange.target(upstreams, name, digest)
        wanted = Digest.parse(digest)
        return _head(blobs, target, wanted) if request.method == "HEAD" else _get(blobs, target, wanted)

    return routes


def _head(blobs: BlobPull, target: Target, digest: Digest) -> Response:
    head = blobs.head(target.upstream, target.repository, digest)
    response = _not_modified(digest, head.outcome)
    if response is None:
        response = Response()
        _blob_headers(response, digest, head.outcome, head.size)
    return response


def _get(blobs: BlobPull, target: Target, digest: Digest) -> Response:
    answer = blobs.get(target.upstream, target.repository, digest)
    if isinstance(answer.body, WholeBlob):
        return _not_modified(digest, answer.outcome) or _from_file(answer.body, digest, answer.outcome)
    try:
        response = _not_modified(digest, answer.outcome)
        if response is None:
            return _from_stream(answer.body, digest, answer.outcome)
    except BaseException:
        answer.body.close()
        raise
    answer.body.close()
    return response


def _from_file(blob: WholeBlob, digest: Digest, outcome: Outcome) -> Response:
    part = parse_range(responses.range_header(request, digest), blob.size)
    start, stop = (part.start, part.stop) if part else (0, blob.size)
    body = FileBody(blob.file, start, stop - start, exchange.current())
    # The server's own wrapper, by PEP 3333: only for that does it send from the descriptor.
    wrap = request.environ.get("wsgi.file_wrapper", FileWrapper)
    response = Response(wrap(body, _BLOCK), direct_passthrough=True)
    _part_headers(response, digest, outcome, blob.size, part)
    exchange.current().streams = True
    return response


def _from_stream(blob: GrowingBlob | UncachedBlob, digest: Digest, outcome: Outcome) -> Response:
    if blob.size is None and request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        # It knows the end of a body by its length or by the end of the connection, and a cut looks like that.
        _know_size(blob)
    # Without a size there is no telling which part a range means; the whole is a right answer to it.
    part = parse_range(responses.range_header(request, digest), blob.size) if blob.size is not None else None
    chunks = blob.chunks(part.start if part else 0, part.stop if part else blob.size)
    try:
        first = next(chunks, b"")
    except Cut as cut:
        # Nothing was sent yet, so this can still be an honest error.
        raise cut.error from cut
    body = StreamBody(first, chunks, blob, exchange.current())
    response = Response(body, direct_passthrough=True)
    _part_headers(response, digest, outcome, blob.size, part)
    # nginx in front must not collect a slow body before it sends it on.
    response.headers["X-Accel-Buffering"] = "no"
    exchange.current().streams = True
    return response


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
    response = Response(status=304)
    responses.immutable_headers(response, digest, outcome)
    exchange.current().outcome = outcome
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
    responses.immutable_headers(response, digest, outcome)
    exchange.current().outcome = outcome
