"""Send HTTP requests to one upstream and to where it redirects: bounded, and without what the environment would add."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import requests
import requests.cookies
import urllib3

from registry_cache import __version__
from registry_cache.errors import UpstreamElsewhere, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from registry_cache.runtime import request_context
from registry_cache.runtime.log import Log
from registry_cache.upstream.blob_addresses import BlobAddress
from registry_cache.upstream.body import content_length
from registry_cache.upstream.deadline import abandon, start
from registry_cache.upstream.errors import translate_http_errors
from registry_cache.upstream.network.pool import IDLE_SECONDS, Adapter, Attempt, OtherAnswered, using
from registry_cache.upstream.network.url import Origin, is_at, origin, parse_url
from registry_cache.upstream.network.zones import EVERYWHERE, PUBLIC_ONLY, Reach, Zone, reach_from, zone_of_name

USER_AGENT = f"registry-cache/{__version__}"

# Docker Hub needs one hop, the deepest known registries three; more is a loop.
MAX_REDIRECTS = 5

# Idle connections kept a host. Every transfer has its own; beyond this they are closed after use.
_POOL_SIZE = 64

# A redirect's body of up to so many bytes costs less to read than a new connection costs to make.
_MAX_DRAINED = 4096

_log = Log(__name__)

_REDIRECTS = (301, 302, 303, 307, 308)

# What a redirect's target on another origin may see: never Authorization, never a cookie (P29).
_FORWARDED = ("Accept", "Accept-Encoding", "Range", "User-Agent")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to connect, of silence between two reads, and for which an idle connection may be used again."""

    connect: float = 5.0
    read: float = 30.0
    idle: float = IDLE_SECONDS


@dataclass(frozen=True, slots=True)
class TLS:
    """``verify``: True, a CA bundle's path, or False, wherever a request leads; ``certificate``: our own, as paths of
    certificate and key, shown to the origin that is asked and to none that it redirects to. ``is_strict``: whether
    certificates are also checked against rules of X.509 that many private authorities break.
    """

    verify: bool | str = True
    certificate: tuple[str, str] | None = None
    is_strict: bool = False


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request. ``headers`` and our certificate go to the origin of ``url`` only.

    ``what`` completes "… while we" in messages. ``read_timeout_seconds``: of silence, where that is less than the
    session's. ``on_redirect`` is called before another origin is asked. ``authorizations``: by origin, the
    Authorization header that it may see. ``allow_http``: whether to follow a redirect from https to http.
    ``reach``: on which networks the host may be. ``home``: the origin that sent us to ``url`` before, where that is
    another one: then nothing that is for it alone goes along.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    what: str
    read_timeout_seconds: float | None = None
    on_redirect: Callable[[], None] = lambda: None
    authorizations: Mapping[Origin, str] = field(default_factory=dict)
    allow_http: bool = False
    reach: Reach = EVERYWHERE
    home: Origin | None = None


@dataclass(frozen=True, slots=True)
class _Sender:
    """Who sent a response: in which zone it stands, and whether it is who was asked, and not where that redirected.

    ``reach``: where it might have been.
    """

    zone: Zone
    is_home: bool
    reach: Reach = PUBLIC_ONLY


_STRANGER = _Sender(Zone.PUBLIC, is_home=False)


class _NoRedirects(requests.Session):
    """Leaves redirects to us: even when told not to follow one, requests reads all of its body into memory."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


class _NoCookies(requests.cookies.RequestsCookieJar):
    """Keeps and sends none, at no cost."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        return

    def add_cookie_header(self, request: Any) -> None:
        return


class Session:
    """Requests to one upstream. Safe to share between threads: it keeps no cookies and no state but its pools."""

    def __init__(
        self, name: str, timeouts: Timeouts, tls: TLS, proxy: str | None = None, *, private_redirects: bool = False
    ) -> None:
        """``private_redirects``: whether who is asked may send us to any address, not only as far in as it stands."""
        self._name = name
        self._private_redirects = private_redirects
        self._senders: WeakKeyDictionary[requests.Response, _Sender] = WeakKeyDictionary()
        self._timeouts = timeouts
        self._tls = tls
        self._requests = _NoRedirects()
        if tls.verify is False:
            # The operator asked for it; a warning a request would bury the rest of the log.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        # .netrc, proxies and REQUESTS_CA_BUNDLE of the environment would send passwords and traffic where nobody
        # who reads the configuration expects them (P30).
        self._requests.trust_env = False
        self._requests.cookies = _NoCookies()
        self._proxies = {"http": proxy, "https": proxy} if proxy else {}
        for scheme in ("http://", "https://"):
            self._requests.mount(scheme, Adapter(_POOL_SIZE, timeouts.idle, is_strict=tls.is_strict))

    def send(self, request: HttpRequest) -> requests.Response:
        """Return the response, redirects followed, its body unread: close it. Raises UpstreamError and its kinds."""
        home = request.home or origin(request.url)
        if not is_at(origin(request.url), home):
            request = _for_strangers(request)
        for hops in range(MAX_REDIRECTS + 1):
            is_home = is_at(origin(request.url), home)
            try:
                response = self._send_once(request, is_home=is_home)
            except (UpstreamUnavailable, UpstreamTimeout) as error:
                if hops and not is_home:
                    _log.warning(
                        "a redirect failed", upstream=self._name, host=parse_url(request.url).host, error=error
                    )
                    raise self.elsewhere(request.what) from error
                raise
            location = response.headers.get("Location") if response.status_code in _REDIRECTS else None
            if location is None:
                return response
            _give_back(response)
            request = replace(self._redirect(request, location, home), reach=self.reach_from(response))
            if not is_at(origin(request.url), home):
                request.on_redirect()
        raise UpstreamError(f"{self._name} redirected more than {MAX_REDIRECTS} times while we {request.what}")

    def reach_from(self, response: requests.Response) -> Reach:
        """Return where whoever sent ``response`` may send us."""
        return EVERYWHERE if self._private_redirects else reach_from(self._senders.get(response, _STRANGER).zone)

    def is_inside(self, response: requests.Response) -> bool:
        """Whether ``response`` came by a redirect from a network that not everybody can reach.

        What it says is then not to be told to clients, since it may be no answer of a registry at all.
        """
        sender = self._senders.get(response, _STRANGER)
        return not self._private_redirects and not sender.is_home and sender.zone is not Zone.PUBLIC

    def address_of(self, response: requests.Response) -> BlobAddress | None:
        """Return where ``response`` came from, if who was asked has sent us there, and the address alone opens it.

        None as well where it is inside a network that not everybody can reach: nothing of that is remembered.
        """
        sender = self._senders.get(response, _STRANGER)
        is_open = "Authorization" not in response.request.headers
        is_elsewhere = not sender.is_home and not self.is_inside(response)
        return BlobAddress(response.url, sender.reach) if is_open and is_elsewhere else None

    def elsewhere(self, what: str) -> UpstreamElsewhere:
        """Return the one error for all that may go wrong where we were redirected to: more would tell a stranger which
        hosts and ports there are in our network. ``what`` completes "… while we".
        """
        return UpstreamElsewhere(f"the content server of {self._name} did not answer as it should while we {what}")

    def _send_once(self, request: HttpRequest, *, is_home: bool) -> requests.Response:
        """Send to one place; once more on a new connection where a reused one turns out to be dead, or an address."""
        attempt = Attempt(parse_url(request.url), reach=request.reach)
        fresh = replace(attempt, is_fresh=True)

        def send_again() -> Future[requests.Response]:
            return start(request.what, lambda: self._exchange(request, fresh, is_home=is_home), requests.Response.close)

        attempt.send_again = send_again
        try:
            response = self._exchange(request, attempt, is_home=is_home)
        except OtherAnswered as other:
            return other.response
        except UpstreamUnavailable:
            if attempt.other:
                return attempt.other.result()
            if not attempt.was_reused and not attempt.has_others:
                raise
            return self._exchange(request, fresh, is_home=is_home)
        except UpstreamTimeout:
            if not attempt.has_others:
                raise
            return self._exchange(request, fresh, is_home=is_home)
        if attempt.other:
            abandon(attempt.other, requests.Response.close)
        elif attempt.was_reused and _says_idle_for_too_long(response):
            _give_back(response)
            return self._exchange(request, fresh, is_home=is_home)
        return response

    def _exchange(self, request: HttpRequest, attempt: Attempt, *, is_home: bool) -> requests.Response:
        silence = request.read_timeout_seconds
        read = self._timeouts.read if silence is None else min(silence, self._timeouts.read)
        headers = {
            "User-Agent": USER_AGENT,
            "Via": request_context.via(),
            "Accept-Encoding": "identity",
            **request.headers,
        }
        if authorization := request.authorizations.get(attempt.url.origin):
            headers["Authorization"] = authorization
        if self._proxies:
            # The proxy resolves the name.
            attempt.zone = zone_of_name(attempt.url.host)
            if attempt.zone not in attempt.reach:
                raise UpstreamUnavailable(f"{self._name} sent us to {attempt.url.host}, which is private by its name")
        with translate_http_errors(self._name, request.what), using(attempt):
            response = self._requests.send(
                _prepare(request.method, str(attempt.url), headers),
                timeout=(self._timeouts.connect, read),
                stream=True,
                allow_redirects=False,
                verify=self._tls.verify,
                cert=self._tls.certificate if is_home else None,
                proxies=self._proxies,
            )
            # requests has written it anew.
            response.url = str(attempt.url)
            self._senders[response] = _Sender(attempt.zone or Zone.RESERVED, is_home, request.reach)
            if request.method == "HEAD":
                # There is no body, and reading that gives the connection back to the pool.
                response.raw.read()
            return response

    def _redirect(self, request: HttpRequest, location: str, home: Origin) -> HttpRequest:
        """Return the request to send next; to another origin, without what only ``home`` may see."""
        what = request.what
        try:
            url = parse_url(request.url).join(location)
        except UpstreamError:
            raise UpstreamError(f"{self._name} redirected to no address while we {what}") from None
        if home[0] == "https" and url.scheme != "https" and not request.allow_http:
            redirect = f"{self._name} redirected from https to {url.scheme}://{url.host} while we {what}"
            raise UpstreamError(f"{redirect}; the key http_redirects allows that for blobs, which their digest proves")
        request = replace(request, url=str(url))
        return request if is_at(url.origin, home) else _for_strangers(request)


def _prepare(method: str, url: str, headers: Mapping[str, str]) -> requests.PreparedRequest:
    prepared = copy.copy(_prepare_once(method, url))
    prepared.prepare_headers({**prepared.headers, **headers})
    return prepared


@lru_cache(maxsize=64)
def _prepare_once(method: str, url: str) -> requests.PreparedRequest:
    """Return what is the same for each question about one thing: a tenth of what a question costs goes into that.

    Without the session, which has nothing to add and takes its time over it.
    """
    return requests.Request(method, url, cookies=_NoCookies()).prepare()


def _for_strangers(request: HttpRequest) -> HttpRequest:
    """Return the request without the headers that only its home may see."""
    return replace(request, headers={name: value for name, value in request.headers.items() if name in _FORWARDED})


def _says_idle_for_too_long(response: requests.Response) -> bool:
    """Whether it was said to a connection that is closed now, and perhaps before our request was there."""
    return response.status_code == 408 and response.headers.get("Connection", "").lower() == "close"


def _give_back(response: requests.Response) -> None:
    """Close a response that nobody wants to read; if little of it is left, its connection can be used again."""
    length = content_length(response)
    if length is not None and length <= _MAX_DRAINED:
        with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):
            response.raw.read()
    response.close()
