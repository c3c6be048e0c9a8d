"""Scheme, host and port of a URL: what must be the same for credentials to be sent."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from registry_cache.errors import UpstreamError

_DEFAULT_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int]


def origin(url: str | SplitResult) -> Origin:
    """Return scheme, host and port of ``url``, with the scheme's default port. Raises UpstreamError."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else url
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except (KeyError, ValueError):
        raise UpstreamError(f"no address that can be connected to: {str(url)[:100]!r}") from None
    return parts.scheme, (parts.hostname or "").lower(), port
