"""Turn the exceptions of requests and urllib3 into ours, with a short cause; no other module catches them."""

from __future__ import annotations

import re

import requests
import urllib3

from registry_cache.errors import UpstreamError, UpstreamTimeout, UpstreamUnavailable

# Object addresses, connection pools and URLs in the text of an exception: noise, and URLs may hold secrets.
_NOISE = re.compile(r"<[^>]*>|0x[0-9a-f]+|HTTPS?ConnectionPool\([^)]*\):? ?|\(Caused by |with url: \S+")
_MAX_CAUSE_LENGTH = 200

_UNREACHABLE = (
    requests.ConnectTimeout,
    requests.exceptions.SSLError,
    requests.exceptions.ProxyError,
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.SSLError,
)


class translate_http_errors:
    """Raise UpstreamTimeout, UpstreamUnavailable or UpstreamError instead of the HTTP library's exceptions inside.

    ``upstream`` and ``what`` make the message: "docker.io was silent while we read a blob". A class and not a
    generator, because every read of a blob enters one.
    """

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
                failure = f"the TLS connection to {upstream} failed"
                raise UpstreamUnavailable(f"{failure} while we {what}: {_cause(error)}") from error
            case requests.RequestException() | urllib3.exceptions.HTTPError() | OSError():
                raise UpstreamUnavailable(f"{upstream} failed while we {what}: {_cause(error)}") from error
            case ValueError():
                # requests parses the address of a redirect even when told not to follow it.
                raise UpstreamError(f"{upstream} sent what makes no sense while we {what}: {_cause(error)}") from error


def is_unreachable(error: BaseException) -> bool:
    """Return whether ``error`` came about because no connection could be made, whatever was asked for."""
    seen: list[BaseException] = [error]
    while not isinstance(seen[-1], _UNREACHABLE):
        found = (getattr(seen[-1], "reason", None), seen[-1].__cause__, seen[-1].__context__)
        inner = next((each for each in found if isinstance(each, BaseException) and each not in seen), None)
        if inner is None:
            return False
        seen.append(inner)
    return True


def _cause(error: BaseException) -> str:
    """Return the innermost reason in a few words."""
    innermost = error
    while True:
        inner = getattr(innermost, "reason", None) or innermost.__cause__ or innermost.__context__
        if not isinstance(inner, BaseException) or inner is innermost:
            break
        innermost = inner
    text = str(getattr(innermost, "strerror", None) or innermost)
    return _NOISE.sub("", text).strip(" :()")[:_MAX_CAUSE_LENGTH] or type(innermost).__name__
