"""What an unsuccessful response means: one of our errors, with upstream's own reason in its message.

An ingress, a firewall or a login page in front of a registry answers 401, 403 and 404 as well. They know nothing of
what we asked for, so such an answer is none (P71): what is cached is served, and no tag is forgotten for it.
"""

from __future__ import annotations

import codecs
import contextlib
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from weakref import WeakKeyDictionary

import requests

from registry_cache.errors import Denied, RegistryError, TooManyRequests, UpstreamError, UpstreamUnavailable
from registry_cache.oci.json_object import parse_object
from registry_cache.upstream.body import read_body

# Clients that obey a Retry-After of more than a day would sleep for good.
MAX_RETRY_AFTER_SECONDS = 86_400.0

# An error without its reason is better than one that comes late or is long.
_MAX_REASON_BODY = 4096
_REASON_TIMEOUT_SECONDS = 1.0
_MAX_WORDS = 80

_beginnings: WeakKeyDictionary[requests.Response, bytes] = WeakKeyDictionary()

# Named by registries of Docker's API in every answer, and by nothing in front of them.
API_VERSION = "Docker-Distribution-Api-Version"


def refusal(
    upstream: str, what: str, response: requests.Response, missing: type[RegistryError], *, is_registry: bool = True
) -> RegistryError:
    """Return the error that an unsuccessful ``response`` means, after reading its body for a reason. Closes nothing.

    ``what`` names the thing asked for; ``missing`` is the error for a 404. ``is_registry``: a registry was asked, whose
    errors have a form, and not a token server, whose errors have none.
    """
    status = response.status_code
    body = _beginning(response)
    is_answer = speaks_api(response, body) if is_registry else not is_page(response, body)
    if status in (401, 403, 404) and not is_answer:
        front = f"something in front of {upstream} answered {status} for {what}"
        return UpstreamError(f"{front}, and not the registry itself: '{_words(body)}'")
    reason = _reason(body)
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
    # 501 says that this request is not supported; the registry may answer others. A cache in front says 304 to what has
    # no condition, and to the next request perhaps not.
    if (status >= 500 and status != 501) or status in (304, 408):
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


def speaks_api(response: requests.Response, body: bytes) -> bool:
    """Whether an error is a registry's own (spec "Error Codes"): it lists errors, or names its API, or challenges us.

    A body that is no error of the API is no registry's, whatever its headers say; the answer to a HEAD has none.
    """
    if response.status_code == 401:
        return "WWW-Authenticate" in response.headers
    if body:
        return _lists_errors(body)
    return API_VERSION in response.headers and not is_page(response, body)


def says_nothing(response: requests.Response, *, is_registry: bool) -> bool:
    """Whether an answer to a HEAD leaves open what a GET would be told (P72).

    Only success, a 404 of the registry's own, and what is no matter of this HEAD (a limit, an outage) say something.
    ``is_registry``: the registry answered, and not where it redirected to, for which the address may be good for a
    GET alone.
    """
    status = response.status_code
    if 200 <= status < 300:
        return status == 204 or is_page(response)
    if not is_registry:
        return True
    return not speaks_api(response, b"") if status == 404 else status not in (408, 429, 502, 503, 504)


def is_page(response: requests.Response, body: bytes = b"") -> bool:
    """Whether it is a web page, which no registry sends."""
    kind = response.headers.get("Content-Type", "").lower()
    return kind.startswith("text/html") or body.lstrip()[:1] == b"<"


def _lists_errors(body: bytes) -> bool:
    """Whether it is an error of the API: a list of errors, each with a code or a message. ``body`` may be cut."""
    if len(body) < _MAX_REASON_BODY:
        errors = (parse_object(body.removeprefix(codecs.BOM_UTF8)) or {}).get("errors")
        return isinstance(errors, list) and any(
            isinstance(each, dict) and each.keys() & {"code", "message"} for each in errors
        )
    return re.match(rb'\s*\{.*?"errors"\s*:\s*\[\s*\{.*?"(?:code|message)"', body, re.DOTALL) is not None


def reason_of(response: requests.Response) -> str:
    """Return the reason that an unsuccessful ``response`` gives in its body, as ``refusal`` quotes it."""
    return _reason(_beginning(response))


def _beginning(response: requests.Response) -> bytes:
    """Return how the body begins, which can be read once but asked for again."""
    if response not in _beginnings:
        _beginnings[response] = b""
        with contextlib.suppress(UpstreamError):
            _beginnings[response] = read_body(
                "upstream", "read why", response, _MAX_REASON_BODY, _REASON_TIMEOUT_SECONDS
            )
    return _beginnings[response]


def _words(body: bytes) -> str:
    """Return the first words that a person would read in ``body``."""
    text = re.sub(r"<[^>]*>|['\"\s]+", " ", body.decode("utf-8", "replace"))
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:_MAX_WORDS] or "nothing"


def _reason(body: bytes) -> str:
    """Return the first message of an OCI error body, as ``" (…)"``; "" where there is none."""
    match = re.search(rb'"message"\s*:\s*"((?:[^"\\]|\\.){1,200})"', body)
    text = match[1].decode("utf-8", "replace") if match else ""
    return f" ({text})" if text and text.isprintable() else ""
