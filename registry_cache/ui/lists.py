"""The pages behind the numbers: images and clients, and what is known of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from registry_cache.errors import StoreError
from registry_cache.runtime import threadpool
from registry_cache.stats.calendar import DAY_SECONDS
from registry_cache.stats.day import TopKind
from registry_cache.stats.journal import Pull
from registry_cache.ui.facts import Facts
from registry_cache.ui.words import span
from registry_cache.upkeep.name_search import MOST_MATCHES, search
from registry_cache.upkeep.survey import SurveyedStore

# Rows of a search: whoever has to scroll further types another letter.
MOST_FOUND = 50
# Tags that a row shows, to tell images apart.
_SOME_TAGS = 4
MOST_PULLS = 100

# By what images are listed, and in words.
ORDERS: tuple[tuple[TopKind, str], ...] = (
    ("saved", "Saved most"),
    ("missed", "Fetched most"),
    ("pulled", "Asked for most"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """``rows``: names and some of their tags; ``more``: in words, how many are not among them, "" for none."""

    rows: Sequence[tuple[str, Sequence[str]]]
    more: str


def find(facts: Facts, store: SurveyedStore | None, text: str) -> Found:
    """Return the images whose names hold ``text``."""
    if store is None:
        return Found((), "")
    matches = search(store.names, text)
    left = len(matches.names) - MOST_FOUND
    more = "" if left <= 0 else f"{left:,}" if matches.complete else f"more than {MOST_MATCHES - MOST_FOUND:,}"
    return Found([(name, _tags(facts, name)) for name in matches.names[:MOST_FOUND]], more)


def _tags(facts: Facts, name: str) -> Sequence[str]:
    try:
        return facts.tags(name, _SOME_TAGS)
    except StoreError:
        return ()


def pulls(facts: Facts, query: str, now: float) -> list[Pull] | None:
    """Return the pulls of the last day that ``query`` means; None where nobody notes them. Raises StoreError."""
    if not facts.has_journal:
        return None
    # A day of a busy site takes a while to read, which no client of the registry should wait for.
    return threadpool.run(facts.statistics.pulls, query, now - DAY_SECONDS, MOST_PULLS)


def next_out(store: SurveyedStore | None, now: float) -> str:
    """Return of what age is what would be evicted next; "" where that is not known."""
    oldest = store.survey.oldest if store else None
    return f"next to go was used {span(now - oldest)} ago" if oldest is not None else ""
