"""Whether browsers may use the API from pages of other origins (CORS): if the operator's headers say so."""

from __future__ import annotations

from collections.abc import Iterable

_PREFIX = "access-control-"


def has_cors(headers: Iterable[str]) -> bool:
    """Return whether ``headers``, by name, hold one of CORS; a browser then asks by OPTIONS before it asks."""
    return any(name.lower().startswith(_PREFIX) for name in headers)
