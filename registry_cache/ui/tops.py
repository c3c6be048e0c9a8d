"""The longest lists, shortened: the images that saved most, those that are missed most, and the clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from registry_cache.stats.day import TopKind
from registry_cache.stats.statistics import Statistics
from registry_cache.ui.words import count, plural, size, span

# Rows of a list on the first page, and on a page of its own.
FEW, MANY = 6, 100


@dataclass(frozen=True, slots=True)
class TopRow:
    """``percent``: its amount as a share of the largest; ``href`` leads to the page about it."""

    name: str
    href: str
    words: str
    percent: int


@dataclass(frozen=True, slots=True)
class TopTable:
    """One list. ``href`` leads to the whole of it, and ``command`` tells more of a row."""

    title: str
    what: str
    rows: Sequence[TopRow]
    href: str
    command: str


@dataclass(frozen=True, slots=True)
class _Kind:
    title: str
    what: str
    page: str
    words: Callable[[int], str]


def _times(number: int) -> str:
    return "once" if number == 1 else f"{count(number)} times"


def _requests(number: int) -> str:
    return plural(number, "request")


_KINDS: dict[TopKind, _Kind] = {
    "saved": _Kind("Images that saved most", "bytes that did not have to be fetched", "images", size),
    "missed": _Kind("Fetched most often", "manifests and blobs that had to be fetched", "images", _times),
    "pulled": _Kind("Images asked for most", "requests for their manifests", "images", _requests),
    # A pull is up to three of them: pulls themselves are counted for all clients together.
    "clients": _Kind("Clients that asked most", "requests for manifests", "clients", _requests),
}
ON_FIRST_PAGE: tuple[TopKind, ...] = ("saved", "missed", "clients")


def top_table(statistics: Statistics, kind: TopKind, since: float, most: int = FEW) -> TopTable:
    """Return one list of what was counted ``since``. Raises StoreError."""
    about = _KINDS[kind]
    found = statistics.top(kind, since, most)
    largest = max((each.at_most for each in found), default=1) or 1
    rows = [
        TopRow(
            each.name,
            f"{about.page}/{each.name}",
            # What lies between two bounds is not exact, and must not look so.
            about.words(each.at_least) if each.at_least == each.at_most else f"about {about.words(each.at_most)}",
            round(each.at_most * 100 / largest),
        )
        for each in found
    ]
    command = f"registry-cache pulls {'CLIENT' if kind == 'clients' else 'IMAGE'}"
    return TopTable(about.title, about.what, rows, f"{about.page}?by={kind}", command)


@dataclass(frozen=True, slots=True)
class GoneRow:
    """A client that came regularly, and how long it has been silent."""

    client: str
    words: str


def gone_rows(statistics: Statistics, now: float) -> list[GoneRow]:
    """Return the clients that have stopped coming, the most recent first. Raises StoreError."""
    return [
        GoneRow(each.client, f"came on {each.days} days; last seen {span(now - each.last_seen)} ago")
        for each in statistics.clients_gone(now)
    ]
