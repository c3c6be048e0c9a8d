"""The URLs that an upstream sends us to: read once and strictly, so that the host that our rules judge is the host that
is connected to.

Programs disagree about URLs that break the grammar: where ``http://one\\@two/`` leads depends on who reads it. So what
is not plain is no address here, and nobody else reads the rest.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from functools import lru_cache

from registry_cache.errors import UpstreamError

DEFAULT_PORTS = {"http": 80, "https": 443}

# The longest that common servers take; a longer one costs memory with each request that it is sent with.
MAX_URL_LENGTH = 16 * 1024

# URLs that stay parsed: one question parses its own six times. A mebibyte where each is as long as may be.
_REMEMBERED = 64

# Scheme, host and port: what must be the same for credentials to be sent.
Origin = tuple[str, str, int]

# Visible ASCII without the backslash, which some programs take for a slash.
_PLAIN = re.compile(r"[!-\[\]-~]*", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:", re.ASCII)
# Names of compose services have underscores. No user name or password, and no percent sign: a host is not encoded.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_URL = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9a-f:.]{{2,45}}\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<target>[/?][^#]*)?(?:\#.*)?",
    re.ASCII | re.IGNORECASE,
)
# ``0x7f.1`` and ``2130706433`` are addresses to a resolver and names to everybody else.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_MAX_HOST_LENGTH = 253


@dataclass(frozen=True, slots=True)
class Url:
    """Where a request goes: ``host`` in lower case, an IPv6 address without its brackets; ``target``: path and query,
    byte for byte, since a signature may be of exactly these.
    """

    scheme: str
    host: str
    port: int
    target: str = "/"

    @property
    def origin(self) -> Origin:
        return self.scheme, self.host, self.port

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def with_query(self, query: str) -> Url:
        """Return this URL with ``query`` behind what it has."""
        separator = "&" if self.query else "" if self.target.endswith("?") else "?"
        return replace(self, target=self.target + separator + query)

    def join(self, reference: str) -> Url:
        """Return where ``reference``, which was said here, leads (RFC 3986 §5). Raises UpstreamError."""
        reference = _encoded(reference.strip(" \t")).partition("#")[0]
        if not _PLAIN.fullmatch(reference) or len(reference) > MAX_URL_LENGTH:
            raise _no_address(reference)
        if _SCHEME.match(reference):
            return parse_url(reference)
        if reference.startswith("//"):
            return parse_url(f"{self.scheme}:{reference}")
        if reference.startswith("/"):
            return replace(self, target=reference)
        if reference.startswith("?") or not reference:
            return replace(self, target=self.path + reference if reference else self.target)
        return replace(self, target=behind(self.path, reference))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.target}"


@lru_cache(_REMEMBERED)
def parse_url(text: str) -> Url:
    """Return the http or https URL in ``text``, without its fragment. Raises UpstreamError for anything not plain."""
    match = _URL.fullmatch(text) if len(text) <= MAX_URL_LENGTH and _PLAIN.fullmatch(text) else None
    if match is None:
        raise _no_address(text)
    scheme, host, target = match["scheme"].lower(), match["host"].lower(), match["target"] or "/"
    port = int(match["port"]) if match["port"] else DEFAULT_PORTS[scheme]
    if not 0 < port < 65536 or len(host) > _MAX_HOST_LENGTH or not _is_host(host):
        raise _no_address(text)
    return Url(scheme, host.strip("[]"), port, target if target.startswith("/") else "/" + target)


def origin(url: str) -> Origin:
    """Return scheme, host and port of ``url``, with the scheme's default port. Raises UpstreamError."""
    return parse_url(url).origin


def is_at(place: Origin, home: Origin) -> bool:
    """Whether ``place`` may see all that ``home`` may: it is that, or the same host by https where that is by http.

    The port may be another one. Never the other way round: by http anybody may read along.
    """
    return place == home or (home[0] == "http" and place[0] == "https" and place[1] == home[1])


def query_of(reference: str) -> str | None:
    """Return the query of a URL, or of a relative one; None where it has none, or is not plain.

    Of a URL that leads nowhere, too: behind a proxy, a registry may not know its own address, and nobody asks there.
    """
    query = _encoded(reference.strip(" \t")).partition("#")[0].partition("?")[2]
    return query if query and _PLAIN.fullmatch(query) and len(query) <= MAX_URL_LENGTH else None


def behind(path: str, reference: str) -> str:
    """Return the target of a relative ``reference`` at ``path``; but for dots at its begin it stays byte for byte."""
    folder = path.rpartition("/")[0]
    while reference.startswith(("./", "../")):
        if reference.startswith("../"):
            folder = folder.rpartition("/")[0]
        reference = reference.partition("/")[2]
    return f"{folder}/{reference}"


def _encoded(reference: str) -> str:
    """Return a reference without the spaces and letters that some servers write unencoded, as a header has them."""
    return re.sub(r"[ \x80-\xff]", lambda match: f"%{ord(match[0]):02X}", reference)


def _is_host(host: str) -> bool:
    """Whether a host of the right characters is a name, or an address in the one form that all programs agree on."""
    try:
        if host.startswith("["):
            ipaddress.IPv6Address(host[1:-1])
        elif _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _no_address(text: str) -> UpstreamError:
    return UpstreamError(f"no address that can be connected to: {text[:100]!r}")
