"""``Link`` headers by their grammar (RFC 8288 §3), and the next page of a list that they lead to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from registry_cache.errors import UpstreamError
from registry_cache.upstream.network.url import Url, behind, query_of

# No registry sends a longer one; the bound keeps a hostile header from costing time.
MAX_LINK_LENGTH = 16 * 1024

# A name, and its value if it has one, in quotes or without.
_PARAMETER = r';[ \t]*+([^\s;=,"]++)(?:[ \t]*+=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"|([^\s;,"]*+)))?+'
# The brackets around the URL are left out by some. Quoted titles may hold brackets and commas.
_LINK = re.compile(rf'(?:<([^<>]*+)>|([^\s<>;,"]++))((?:[ \t]*+{_PARAMETER})*+)')
_PARAMETERS = re.compile(_PARAMETER)
_LINK_ORIGIN = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?]*")
# What may be asked for behind a list's folder: nothing that leads out of it.
_TAIL = re.compile(
    r"(?!\.)[A-Za-z0-9._~;=,:@!$&'()*+%-]{1,1024}(?:/(?!\.)[A-Za-z0-9._~;=,:@!$&'()*+%-]{1,1024}){0,8}/?"
)


def next_link(values: Iterable[str]) -> str | None:
    """Return where the next page is by the header instances in ``values``; None where they name none."""
    for value in values:
        for match in _LINK.finditer(value[:MAX_LINK_LENGTH]):
            if "next" in _relations(match[3]):
                return (match[1] or match[2] or "").strip()
    return None


@dataclass(frozen=True, slots=True)
class NextPage:
    """Where a list goes on: ``tail`` stands behind the list's own folder, as ``list`` does in ``tags/list``."""

    tail: str
    query: str = ""


def next_page(values: Iterable[str], asked: Url, folder: str, first: str) -> NextPage | None:
    """Return the page that the header instances in ``values`` lead to from ``asked``; None for the end of the list.

    The ``folder`` is looked for in the link's path, whose beginning may be another one than ours: behind a proxy, a
    registry may not know its own address. Without it, or where that is the ``first`` page's path, the query alone leads
    on. Raises UpstreamError for a link that leads nowhere: a list that just ended there would be too short.
    """
    link = next_link(values)
    if link is None:
        return None
    place = _LINK_ORIGIN.sub("", link.partition("#")[0], count=1)
    path, _, _ = place.partition("?")
    if not path.startswith("/"):
        path = behind(asked.path, path) if path else asked.path
    _, found, tail = path.rpartition(f"/{folder}/")
    query = query_of(link)
    if found and _TAIL.fullmatch(tail) and tail != first:
        return NextPage(tail, query or "")
    if query is None and tail != first and path != "/":
        raise UpstreamError(f"a list goes on at {link[:100]!r}, which is no place that can be asked")
    # A link to the first page leads nowhere.
    return NextPage(first, query) if query else None


def _relations(parameters: str) -> list[str]:
    """Return what the link is; of several ``rel`` the first counts, and it may hold several words (RFC 8288 §3.3)."""
    for name, quoted, bare in _PARAMETERS.findall(parameters):
        if name.lower() == "rel":
            return [word.strip("'") for word in (quoted or bare).lower().split()]
    return []
