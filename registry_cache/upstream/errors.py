"""What went wrong with an upstream, in words: the only place that catches requests' and urllib3's exceptions."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests
import urllib3

from registry_cache.errors import (
    Denied,
    RegistryError,
    TooManyRequests,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)

# A longer wait than a day is no advice; clients that obey Retry-After would sleep for good.
MAX_RETRY_AFTER = 86_400.0

# How much of an upstream's error body is read and shown, and the seconds that it may take: an answer without its
# reason is better than none.
_MAX_ERROR_BODY = 4096
_ERROR_SECONDS = 1.0

_ADDRESS = re.compile(r"<[^>]*>|0x[0-9a-f]+|HTTPS?ConnectionPool\([^)]*\):? ?|\(Caused by |with url: \S+")


class reporting:
    """Turn the HTTP library's exceptions inside into UpstreamTimeout and UpstreamUnavailable, with the cause."""

    __slots__ = ("_upstream", "_what")

    def __init__(self, upstream: str, what: str) -> None:
        self._upstream = upstream
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            return
        upstream, what = self._upstream, self._what
        match error:
            case requests.Timeout() | urllib3.exceptions.TimeoutError():
                raise UpstreamTimeout(f"{upstream} was silent while we {what}") from error
            case requests.exceptions.SSLError() | urllib3.exceptions.SSLError():
                raise UpstreamUnavailable(
                    f"the TLS connection to {upstream} failed while we {what}: {_cause(error)}"
                ) from error
            case requests.RequestException() | urllib3.exceptions.HTTPError() | OSError():
                raise UpstreamUnavailable(f"{upstream} failed while we {what}: {_cause(error)}") from error
            case ValueError():
                # requests looks at a redirect's address even where it is not to follow it.
                raise UpstreamError(f"{upstream} sent what makes no sense while we {what}: {_cause(error)}") from error


def read_body(upstream: str, what: str, response: requests.Response, limit: int, seconds: float) -> bytes:
    """Return at most ``limit`` bytes of a response's body, decoded. Raises UpstreamTimeout after ``seconds``.

    Only the caller's thread reads and closes: under gevent, to close what another greenlet reads is an error. At the
    end of the time the connection is shut down for reading, which ends a read however its bytes drip in.
    """
    deadline = time.monotonic() + seconds
    watch = threading.Timer(seconds, _shut, [response])
    watch.daemon = True
    watch.start()
    data = bytearray()
    try:
        with reporting(upstream, what):
            while len(data) < limit:
                chunk = response.raw.read1(limit - len(data), decode_content=True)
                data += chunk
                if not chunk or time.monotonic() >= deadline:
                    break
    except UpstreamError as error:
        if time.monotonic() < deadline:
            raise
        raise _slow(upstream, what, seconds) from error
    finally:
        watch.cancel()
    # Shut down, it looks as if the body had ended.
    if time.monotonic() >= deadline:
        raise _slow(upstream, what, seconds)
    return bytes(data)


def _shut(response: requests.Response) -> None:
    # urllib3 before 2.3 cannot; then the sockets' own time-outs and the look at the clock between reads remain.
    with contextlib.suppress(AttributeError, OSError, RuntimeError, ValueError):
        response.raw.shutdown()


def _slow(upstream: str, what: str, seconds: float) -> UpstreamTimeout:
    return UpstreamTimeout(f"{upstream} took more than {seconds:g} s while we {what}")


def refusal(upstream: str, what: str, response: requests.Response, missing: type[RegistryError]) -> RegistryError:
    """Return the error that ``response``, which is no success, means; its body is read for a reason, and closed.

    ``what`` names the thing asked for; ``missing`` is what a 404 means there.
    """
    status = response.status_code
    reason = _reason(response)
    told = f"{upstream} answered {status}{reason} for {what}"
    if status == 404:
        return missing(f"{what} is unknown to {upstream}{reason}")
    if status in (401, 403):
        return Denied(
            f"{upstream} refused this cache access to {what}{reason}: it is private or does not exist; "
            "the operator can give the cache an account (proxy.username, proxy.password)"
        )
    wait = retry_after(response)
    if status == 429:
        return TooManyRequests(told, retry_after=wait)
    # 501 is an answer: it does not know the question, and may know others.
    if (status >= 500 and status != 501) or status == 408:
        return UpstreamUnavailable(told, retry_after=wait)
    return UpstreamError(told)


def retry_after(response: requests.Response) -> float | None:
    """Return the seconds of a Retry-After header, in either of its forms (RFC 9110 §10.2.3); None without one."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return min(float(value), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    wait = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime.now(UTC)
    return min(max(wait.total_seconds(), 0.0), MAX_RETRY_AFTER)


def _reason(response: requests.Response) -> str:
    """Return the first message of an OCI error body, as ``" (…)"``; "" where there is none."""
    with contextlib.suppress(UpstreamError):
        body = read_body("upstream", "read why", response, _MAX_ERROR_BODY, _ERROR_SECONDS)
        match = re.search(rb'"message"\s*:\s*"((?:[^"\\]|\\.){1,200})"', body)
        if match:
            text = match[1].decode("utf-8", "replace")
            return f" ({text})" if text.isprintable() else ""
    return ""


def _cause(error: BaseException) -> str:
    """Return the innermost reason in a word or two, without object addresses and URLs, which may hold secrets."""
    innermost = error
    while True:
        inner = getattr(innermost, "reason", None) or innermost.__cause__ or innermost.__context__
        if not isinstance(inner, BaseException) or inner is innermost:
            break
        innermost = inner
    text = str(getattr(innermost, "strerror", None) or innermost)
    return _ADDRESS.sub("", text).strip(" :()")[:200] or type(innermost).__name__
