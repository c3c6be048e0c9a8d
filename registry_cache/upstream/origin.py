"""Scheme, host and port of a URL: what must be the same for credentials to be sent."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, quote, urlsplit

from registry_cache.errors import UpstreamError

_UNAMBIGUOUS = re.compile(r"[!-\[\]-~]*")
_DEFAULT_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int]


def origin(url: str | SplitResult) -> Origin:
    """Return scheme, host and port of ``url``, with the scheme's default port. Raises UpstreamError."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else url
        # Programs disagree on where a host ends that has a backslash in it; urllib3 must connect to the one we compare.
        if not _UNAMBIGUOUS.fullmatch(parts.netloc):
            raise ValueError
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except (KeyError, ValueError):
        raise UpstreamError(f"no address that can be connected to: {str(url)[:100]!r}") from None
    return parts.scheme, (parts.hostname or "").lower(), port


def target_of(url: str) -> str:
    """Return path and query of ``url`` as they are to be sent, byte for byte: a signature may be of exactly these.

    What no request line can hold is percent-encoded; characters over 127 are bytes of a header, read as Latin-1.
    """
    rest = url.partition("://")[2].partition("#")[0]
    begins = next((at for at, character in enumerate(rest) if character in "/?"), len(rest))
    target = "".join(each if "!" <= each <= "~" else quote(each, encoding="latin-1") for each in rest[begins:])
    return target if target.startswith("/") else "/" + target
