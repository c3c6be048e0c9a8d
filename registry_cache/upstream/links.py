"""``Link`` headers by their grammar (RFC 8288 §3), as far as the next page of a list needs it."""

from __future__ import annotations

import re
from collections.abc import Iterable

# No registry sends a longer one; the bound keeps a hostile header from costing time.
MAX_LINK_LENGTH = 16 * 1024

# A name, and its value if it has one, in quotes or without.
_PARAMETER = r';[ \t]*+([^\s;=,"]++)(?:[ \t]*+=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"|([^\s;,"]*+)))?+'
# The brackets around the URL are left out by some. Quoted titles may hold brackets and commas.
_LINK = re.compile(rf'(?:<([^<>]*+)>|([^\s<>;,"]++))((?:[ \t]*+{_PARAMETER})*+)')
_PARAMETERS = re.compile(_PARAMETER)


def next_link(values: Iterable[str]) -> str | None:
    """Return where the next page is by the header instances in ``values``; None where they name none."""
    for value in values:
        for match in _LINK.finditer(value[:MAX_LINK_LENGTH]):
            if "next" in _relations(match[3]):
                return (match[1] or match[2] or "").strip()
    return None


def _relations(parameters: str) -> list[str]:
    """Return what the link is; of several ``rel`` the first counts, and it may hold several words (RFC 8288 §3.3)."""
    for name, quoted, bare in _PARAMETERS.findall(parameters):
        if name.lower() == "rel":
            return [word.strip("'") for word in (quoted or bare).lower().split()]
    return []
