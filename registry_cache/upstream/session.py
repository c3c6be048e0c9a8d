"""Connections to one upstream and to where it redirects: bounded, without what the environment would add."""

from __future__ import annotations

import contextlib
import http.cookiejar
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import requests.adapters
import urllib3

from registry_cache import __version__
from registry_cache.errors import UpstreamElsewhere, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from registry_cache.upstream import errors

USER_AGENT = f"registry-cache/{__version__}"

# Docker Hub needs one hop, the deepest known registries three; more is a loop.
MAX_REDIRECTS = 5

# Idle connections kept a host. Every transfer has its own; beyond this they are closed after use.
_POOL_SIZE = 64

# Bytes of a redirect's body that cost less to read than a new connection costs to make.
_WORTH_READING = 4096

_REDIRECTS = (301, 302, 303, 307, 308)

# What a redirect target on another origin may see: never Authorization, never a cookie (P29).
_FORWARDED = ("Accept", "Accept-Encoding", "Range", "User-Agent")

_DEFAULT_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to connect, and of silence between two reads."""

    connect: float = 5.0
    read: float = 30.0


@dataclass(frozen=True, slots=True)
class TLS:
    """``verify``: True, a CA bundle's path, or False, wherever a request leads; ``certificate``: our own, as paths of
    certificate and key, shown to the origins that are asked and to none that they redirect to.
    """

    verify: bool | str = True
    certificate: tuple[str, str] | None = None


def origin(url: str | SplitResult) -> Origin:
    """Return scheme, host and port of ``url``, with the port that the scheme implies. Raises UpstreamError."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else url
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except (KeyError, ValueError):
        raise UpstreamError(f"no address that can be connected to: {str(url)[:100]!r}") from None
    return parts.scheme, (parts.hostname or "").lower(), port


class _Direct(requests.Session):
    """Leaves redirects to us. Told not to follow one, requests still reads all of its body into memory."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


class Session:
    """Requests to one upstream. Safe to share between threads: it keeps no cookies and no state but its pools."""

    def __init__(self, name: str, timeouts: Timeouts, tls: TLS, proxy: str | None = None) -> None:
        self._name = name
        self._timeouts = timeouts
        self._tls = tls
        self._requests = _Direct()
        if tls.verify is False:
            # The operator wrote it; a warning a request would bury what else the log has to say.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        # .netrc, proxies and REQUESTS_CA_BUNDLE of the environment would send passwords and traffic where nobody
        # who reads the configuration expects them (P30).
        self._requests.trust_env = False
        self._requests.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        self._proxies = {"http": proxy, "https": proxy} if proxy else {}
        for scheme in ("http://", "https://"):
            adapter = requests.adapters.HTTPAdapter(pool_connections=16, pool_maxsize=_POOL_SIZE, max_retries=0)
            self._requests.mount(scheme, adapter)

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        what: str,
        silence: float | None = None,
        sent_on: Callable[[], None] = lambda: None,
    ) -> requests.Response:
        """Return the response to one request, its redirects followed, its body unread: close it.

        ``headers`` and our certificate go to ``url``'s own origin only. ``what`` completes "… while we" in messages.
        ``silence``: seconds between two reads, where that is less than the time-outs say. ``sent_on`` is called before
        another origin is asked. Raises UpstreamError and its kinds.
        """
        home = origin(url)
        for hops in range(MAX_REDIRECTS + 1):
            try:
                response = self._once(method, url, headers, what, silence, at_home=origin(url) == home)
            except (UpstreamUnavailable, UpstreamTimeout) as error:
                raise (UpstreamElsewhere(error.message) if hops and origin(url) != home else error) from error
            location = response.headers.get("Location") if response.status_code in _REDIRECTS else None
            if location is None:
                return response
            _give_back(response)
            url, headers = self._redirected(url, location, headers, home, what)
            if origin(url) != home:
                sent_on()
        raise UpstreamError(f"{self._name} redirected more than {MAX_REDIRECTS} times while we {what}")

    def _once(
        self, method: str, url: str, headers: Mapping[str, str], what: str, silence: float | None, *, at_home: bool
    ) -> requests.Response:
        read = self._timeouts.read if silence is None else min(silence, self._timeouts.read)
        with errors.reporting(self._name, what):
            sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
            response = self._requests.send(
                # Prepared without the session, which has nothing of its own to add and takes its time over it.
                requests.Request(method, url, headers=sent).prepare(),
                timeout=(self._timeouts.connect, read),
                stream=True,
                allow_redirects=False,
                verify=self._tls.verify,
                cert=self._tls.certificate if at_home else None,
                proxies=self._proxies,
            )
            if method == "HEAD":
                # There is no body, and whoever finds that out gives the connection back to those that wait for one.
                response.raw.read()
            return response

    def _redirected(
        self, url: str, location: str, headers: Mapping[str, str], home: Origin, what: str
    ) -> tuple[str, Mapping[str, str]]:
        try:
            target = urljoin(url, location)
            there = origin(target)
        except (ValueError, UpstreamError):
            raise UpstreamError(f"{self._name} redirected to no address while we {what}") from None
        if home[0] == "https" and there[0] != "https":
            raise UpstreamError(f"{self._name} redirected from https to {there[0]}://{there[1]} while we {what}")
        if there == home:
            return target, headers
        return target, {name: value for name, value in headers.items() if name in _FORWARDED}


def _give_back(response: requests.Response) -> None:
    """Close a response nobody wants to read; where little is left of it, its connection can be used again."""
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) <= _WORTH_READING:
        with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):
            response.raw.read()
    response.close()
