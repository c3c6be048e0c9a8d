"""What an unsuccessful response means: one of our errors, with upstream's own reason in its message."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests

from registry_cache.errors import Denied, RegistryError, TooManyRequests, UpstreamError, UpstreamUnavailable
from registry_cache.upstream.body import read_body

# Clients that obey a Retry-After of more than a day would sleep for good.
MAX_RETRY_AFTER_SECONDS = 86_400.0

# An error without its reason is better than one that comes late or is long.
_MAX_REASON_BODY = 4096
_REASON_TIMEOUT_SECONDS = 1.0


def refusal(upstream: str, what: str, response: requests.Response, missing: type[RegistryError]) -> RegistryError:
    """Return the error that an unsuccessful ``response`` means, after reading its body for a reason. Closes nothing.

    ``what`` names the thing asked for; ``missing`` is the error for a 404.
    """
    status = response.status_code
    reason = _reason(response)
    message = f"{upstream} answered {status}{reason} for {what}"
    if status == 404:
        return missing(f"{what} is unknown to {upstream}{reason}")
    if status in (401, 403):
        return Denied(
            f"{upstream} refused this cache access to {what}{reason}: it is private or does not exist; "
            "the operator can give the cache an account (proxy.username, proxy.password)"
        )
    wait = retry_after(response)
    if status == 429:
        return TooManyRequests(message, retry_after=wait)
    # 501 says that this request is not supported; the registry may answer others.
    if (status >= 500 and status != 501) or status == 408:
        return UpstreamUnavailable(message, retry_after=wait)
    return UpstreamError(message)


def retry_after(response: requests.Response) -> float | None:
    """Return the seconds of a Retry-After header, in either of its forms (RFC 9110 §10.2.3); None without one."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return min(float(value), MAX_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    wait = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime.now(UTC)
    return min(max(wait.total_seconds(), 0.0), MAX_RETRY_AFTER_SECONDS)


def _reason(response: requests.Response) -> str:
    """Return the first message of an OCI error body, as ``" (…)"``; "" where there is none."""
    body = b""
    with contextlib.suppress(UpstreamError):
        body = read_body("upstream", "read why", response, _MAX_REASON_BODY, _REASON_TIMEOUT_SECONDS)
    match = re.search(rb'"message"\s*:\s*"((?:[^"\\]|\\.){1,200})"', body)
    text = match[1].decode("utf-8", "replace") if match else ""
    return f" ({text})" if text and text.isprintable() else ""
