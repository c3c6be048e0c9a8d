"""Read from the bucket that several caches share, by signed URLs and the same transport that asks registries.

Nobody depends on it: whatever it does not bring in time the registry does. Bytes are compared to their digest by
whoever reads them, as those of a registry are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import requests

from registry_cache.errors import UpstreamDown, UpstreamError, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.runtime import metrics
from registry_cache.upstream.blob_body import BlobBody, blob_body, serves_range
from registry_cache.upstream.body import content_length, read_body, read_document
from registry_cache.upstream.bucket_outage import BucketOutage
from registry_cache.upstream.deadline import run_with_timeout
from registry_cache.upstream.session import HttpRequest, Session, Timeouts

NAME = "the bucket"

# Until its head must be here; then the registry is asked. A client waits for both, and gives up after ten or more.
HEAD_TIMEOUT_SECONDS = 5.0
# To connect, and of silence within a body, after which the registry goes on.
TIMEOUTS = Timeouts(connect=2.0, read=5.0)
# Of a manifest or a record.
DOCUMENT_TIMEOUT_SECONDS = 10.0
# How long a URL that we use ourselves is good; clocks may differ by some of it.
SIGNED_SECONDS = 60

# An error's document says in its first bytes what is wrong.
_MAX_ERROR_SIZE = 4096
_CODE = re.compile(rb"<Code>([A-Za-z]{1,60})</Code>")
# What answers with these is not there, or is not for us to see: without the right to list, S3 says 403 of both.
_ABSENT = {404: ("", "NoSuchKey", "NotFound"), 403: ("", "AccessDenied")}


class Signer(Protocol):
    """Makes URLs that are good for one method, one key and so many ``seconds``. Raises UpstreamUnavailable."""

    def sign(self, method: str, key: str, seconds: int) -> str: ...


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A small object: its bytes, compared to nothing, and its Content-Type."""

    data: bytes
    media_type: str


class BucketReader:
    """The objects under ``prefix``. Every method raises UpstreamError and its kinds, in bounded time."""

    def __init__(self, signer: Signer, session: Session, prefix: str) -> None:
        self._signer = signer
        self._session = session
        self._prefix = prefix
        self.outage = BucketOutage()

    def open(self, key: str, digest: Digest, start: int = 0, stop: int | None = None) -> BlobBody | None:
        """Start to read a blob from ``start`` up to ``stop``; None where it is not there. Close what is returned."""
        wanted = f"bytes={start}-{'' if stop is None else stop - 1}"
        response = self._ask("get", "GET", key, {"Range": wanted} if start or stop is not None else {})
        if response is None:
            return None
        if not serves_range(response, start):
            response.close()
            raise UpstreamError(f"{NAME} answered another range than from {start} for {digest}")
        body = blob_body(NAME, digest, response, start, start, stop)
        body.count = _count_read
        return body

    def read(self, key: str, limit: int) -> StoredDocument | None:
        """Return a small object, ``limit`` bytes at most; None where it is not there."""
        response = self._ask("get", "GET", key, {})
        if response is None:
            return None
        with response:
            try:
                data = read_document(NAME, "an object", response, limit, DOCUMENT_TIMEOUT_SECONDS, _count_read)
            except UpstreamError as error:
                self.outage.record_failure(error.message)
                raise
            return StoredDocument(data, response.headers.get("Content-Type", ""))

    def size(self, key: str) -> int | None:
        """Return how many bytes an object has; None where it is not there."""
        response = self._ask("head", "HEAD", key, {})
        if response is None:
            return None
        with response:
            return content_length(response) or 0

    def delete(self, key: str) -> None:
        """Delete an object that has turned out to be wrong; one that is not there is deleted."""
        response = self._ask("delete", "DELETE", key, {})
        if response is not None:
            response.close()

    def signed_url(self, key: str, seconds: int) -> str:
        """Return a URL by which a client can read an object for ``seconds``. It belongs in no log."""
        return self._signer.sign("GET", self._prefix + key, seconds)

    def _ask(self, operation: str, method: str, key: str, headers: Mapping[str, str]) -> requests.Response | None:
        """Return the answer, its body unread: close it. None where there is no such object."""
        if not self.outage.admit():
            raise UpstreamDown(f"{NAME} has not been answering")
        status = None
        try:
            response = run_with_timeout(
                HEAD_TIMEOUT_SECONDS,
                f"asked {NAME}",
                lambda: self._send(method, key, headers),
                requests.Response.close,
            )
            status = response.status_code
        except UpstreamError as error:
            self.outage.record_failure(error.message)
            raise
        finally:
            metrics.count_bucket_request(operation, status)
        return self._judge(response)

    def _send(self, method: str, key: str, headers: Mapping[str, str]) -> requests.Response:
        url = self._signer.sign(method, self._prefix + key, SIGNED_SECONDS)
        return self._session.send(HttpRequest(method, url, headers, f"asked {NAME}"))

    def _judge(self, response: requests.Response) -> requests.Response | None:
        status = response.status_code
        if 200 <= status < 300 or status == 416:
            self.outage.record_answer()
            return response
        with response:
            code = _error_code(response)
        if code in _ABSENT.get(status, ()):
            self.outage.record_answer()
            return None
        # A wrong key or a clock that is off is no different from a bucket that is away: nothing can be had from it.
        error = UpstreamUnavailable(f"{NAME} answered {status} {code}".rstrip())
        self.outage.record_failure(error.message)
        raise error


def _error_code(response: requests.Response) -> str:
    """Return S3's word for what is wrong; "" where it says none."""
    if response.request.method == "HEAD":
        return ""
    try:
        data = read_body(NAME, "read an error", response, _MAX_ERROR_SIZE, HEAD_TIMEOUT_SECONDS)
    except UpstreamError:
        return ""
    found = _CODE.search(data)
    return found[1].decode() if found else ""


def _count_read(_: str, size: int) -> None:
    metrics.count_bucket_bytes("read", size)
