"""Parse names of registries: ``host[:port]`` as found in ``ns=``, on disk and in a remote URL. Pure."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from registry_cache.config.problems import InvalidValue

HUB = "docker.io"
HUB_URL = "https://registry-1.docker.io"
# The names that people use for Docker Hub. Only registry-1 serves the v2 API under its own name.
HUB_HOSTS = (HUB, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")
# Docker's web sites, login servers and storage: people paste them, and none is a registry. Nor is any other host of
# docker.io.
_HUB_PAGES = re.compile(
    r".*\.docker\.io|docker\.com|(?:www|hub|app|cloud|store|docs|id|login|auth|registry|index|production\..*)\.docker\.com"
)
DEFAULT_PORTS = {"http": 80, "https": 443}
# The longest name a domain may have; with its port it still fits a directory's name.
LONGEST_HOST = 240

# With underscores, which no domain has but the names of compose services do. None begins with one: such names of
# folders are the store's own.
_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"((?:{_LABEL})(?:\.{_LABEL})*|\[[0-9a-f:.]{{2,45}}\])(?::([0-9]{{1,5}}))?")
_HOST_REMEDY = "write host or host:port, such as ghcr.io or registry.example.com:5000"
# An address to a resolver, whatever stands before it: ``1.2.3`` is 1.2.0.3 there.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


# At the beginning of a path or at its end.
_VERSION = re.compile(r"^/v[12](?=/|$).*|/v[12]$", re.IGNORECASE)
_PATH = re.compile(r"[!-\[\]-~]*")


@dataclass(frozen=True, slots=True)
class Remote:
    """An upstream's URL without a trailing slash, and the name that follows from it."""

    name: str
    url: str


def parse_host(text: str) -> str:
    """``host[:port]`` in lower case, valid as a directory's name; Docker Hub's hosts become ``docker.io``."""
    host = parse_alias(text)
    return HUB if host in HUB_HOSTS else host


def parse_alias(text: str) -> str:
    """``host[:port]`` in lower case, as it is written; without the port where it is the one that Docker Hub has."""
    host = text.lower()
    match = _HOST.fullmatch(host)
    if host.startswith("_"):
        remedy = "it may not begin with an underscore: give that host another name as well"
        raise InvalidValue(f"{text[:80]!r} is not a host name", remedy)
    if match is None or len(match[1]) > LONGEST_HOST or not _is_whole_address(match[1]):
        raise InvalidValue(f"{text[:80]!r} is not a host name", _HOST_REMEDY)
    if match[2] is not None and not 0 < int(match[2]) < 65536:
        raise InvalidValue(f"port {match[2]} is out of range", "write a port from 1 to 65535")
    is_hub = match[1] in HUB_HOSTS
    if (is_hub and match[2] not in (None, "443", "80")) or (not is_hub and _HUB_PAGES.fullmatch(match[1])):
        raise InvalidValue(f"{host} is not a registry", f"write {HUB} for Docker Hub; its registry is {HUB_URL}")
    return match[1] if is_hub else host


def parse_remote(text: str) -> Remote:
    """An upstream's URL. Messages never quote it: it may hold a password."""
    parts, port = split_url(text, "https://registry.example.com")
    if parts.username is not None or parts.password is not None:
        raise InvalidValue("has credentials in the URL", "put them under username and password")
    if parts.query or parts.fragment:
        raise InvalidValue("has a query or a fragment", "end the URL after the host")
    path = parts.path.rstrip("/")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    if port is not None and port != DEFAULT_PORTS[parts.scheme]:
        host = f"{host}:{port}"
    name = parse_host(host)
    if name == HUB and path and not _VERSION.search(path):
        raise InvalidValue(f"{HUB} has nothing below {path[:80]}", f"write {HUB_URL}; names already contain library/")
    if version := _VERSION.search(path):
        remedy = f"leave out {version[0]}: /v2 is added to every request, and names of images follow it"
        raise InvalidValue("names the API's version", f"write {HUB_URL}" if name == HUB else remedy)
    if not _PATH.fullmatch(path):
        raise InvalidValue("has a character in its path that no URL has", "write it as a browser's address line does")
    return Remote(HUB, HUB_URL) if name == HUB else Remote(name, f"{parts.scheme}://{name}{path}")


def _is_whole_address(host: str) -> bool:
    """Whether a host that programs take for an address is one that they all take for the same."""
    if not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return True
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches ``host``, a name or an address to listen on; "" means all addresses."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def split_url(text: str, example: str) -> tuple[SplitResult, int | None]:
    """An http or https URL with a host, and its port; raises InvalidValue with ``example`` as the remedy."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise InvalidValue("is not a URL", f"write {example}") from None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        if not text.isdecimal() and _HOST.fullmatch(text.lower()):
            # A host and its port alone: there is no password in it that a message could tell.
            example = f"{example.partition('://')[0]}://{text}"
        raise InvalidValue("is not an http or https URL", f"write it with its scheme: {example}")
    return parts, port
