"""Lists of tags, however a registry pages them: by ``last`` as the spec has it, by a token of its own, or not at all.

A page of the spec's kind is passed on. From any other, the whole list is put together, kept for a moment, and cut here:
a client's ``last`` means nothing to a registry that pages by tokens (P70).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Container, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs

import requests
from cachetools import LRUCache

from registry_cache.errors import UpstreamError
from registry_cache.oci.json_object import parse_object
from registry_cache.oci.names import Repository
from registry_cache.upstream import registry_api
from registry_cache.upstream.body import read_document, timed_out
from registry_cache.upstream.large_documents import LargeDocuments, LargeTurn
from registry_cache.upstream.links import NextPage, next_page
from registry_cache.upstream.network.url import parse_url
from registry_cache.upstream.transport import Transport

# A page of tags: Docker Hub's longest list of tags is under 2 MB.
MAX_LIST_SIZE = 8 * 1024 * 1024
# Of memory, for a list that is put together: names take several times their letters.
MAX_NAMES_SIZE = 4 * MAX_LIST_SIZE
# For all pages of one list.
LIST_TIMEOUT_SECONDS = 60.0
# Asked for where a whole list is wanted; registries that refuse so many are asked for as many as they like.
WHOLE_PAGE = 1000
# How long the next pages are cut from a whole list before it is fetched anew.
WHOLE_LIST_SECONDS = 30.0
# Bytes of memory for such lists, of all repositories of an upstream; what a name takes besides its letters.
MAX_KEPT = 8 * 1024 * 1024
_NAME_SIZE = 64
# Names that are looked at in one turn of the loop.
_TURN = 50_000

# Where a list begins, behind its folder (``tags/list``).
FIRST_PAGE = "list"


@dataclass(frozen=True, slots=True)
class TagPage:
    """Some tags, and the last of them if upstream has more behind it."""

    names: list[str]
    last: str | None


@dataclass(frozen=True, slots=True)
class _Page:
    """A page as a registry cuts it, and the next one."""

    names: list[str]
    following: NextPage | None

    @property
    def query(self) -> str | None:
        """What leads to the next page if it has the path of the first; "" if it has another."""
        if self.following is None:
            return None
        return self.following.query if self.following.tail == FIRST_PAGE else ""


class TagLists:
    """The lists of tags of the registry that ``transport`` asks. Large ones take a turn of ``large``."""

    def __init__(
        self,
        transport: Transport,
        large: LargeDocuments,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._large = large
        self._clock = clock
        self._whole: LRUCache[Repository, tuple[float, list[str]]] = LRUCache(MAX_KEPT, lambda kept: _size(kept[1]))

    def page(self, repository: Repository, count: int | None, last: str | None, *, has_copy: bool) -> TagPage:
        """Return the tags behind ``last``, about ``count`` of them: the caller cuts. ``has_copy``: something is cached.

        Raises NameUnknown, and UpstreamError where a list is none or does not end.
        """
        cached = self._whole.get(repository)
        # The first page is always asked for; the next ones come from the list that it was cut from.
        if last is not None and cached and self._clock() - cached[0] < WHOLE_LIST_SECONDS:
            return TagPage(behind(cached[1], last), None)
        deadline = self._clock() + LIST_TIMEOUT_SECONDS
        first = self._ask(repository, _page(count, last), deadline, has_copy=has_copy)
        time.sleep(0)
        if is_by_last(first.names, first.query, last):
            return TagPage(first.names, first.names[-1] if first.following else None)
        begins = first if last is None and count is None else None
        names = self._fetch_all(repository, begins, deadline, has_copy=has_copy)
        time.sleep(0)
        if _size(names) <= MAX_KEPT:
            self._whole[repository] = self._clock(), names
            time.sleep(0)
        return TagPage(behind(names, last), None)

    def _fetch_all(self, repository: Repository, first: _Page | None, deadline: float, *, has_copy: bool) -> list[str]:
        """Return all tags, none twice. Raises UpstreamError where a page brings nothing new and there is to be more."""
        page = first or self._ask(repository, _page(WHOLE_PAGE, None), deadline, has_copy=has_copy)
        names = dict.fromkeys(page.names)
        known, size = 0, _size(names)
        while page.following is not None:
            if len(names) == known:
                raise UpstreamError(f"{self._transport.name}'s list of the tags of {repository} does not end")
            if size > MAX_NAMES_SIZE:
                raise UpstreamError(f"{self._transport.name}'s list of the tags of {repository} is too long")
            known = len(names)
            page = self._ask(repository, page.following, deadline, has_copy=has_copy)
            new = _unique(page.names, names)
            # Added up, and not anew for each page: a registry may send thousands of small ones.
            size += _size(new)
            names |= dict.fromkeys(new)
            time.sleep(0)
        return list(names)

    def _ask(self, repository: Repository, place: NextPage, deadline: float, *, has_copy: bool) -> _Page:
        """Return the page at ``place``; without its ``n`` where the registry refuses so many."""
        question = registry_api.list_tags(repository, place, has_copy=has_copy)
        left = deadline - self._clock()
        if left <= 0:
            raise timed_out(self._transport.name, f"asked for {question.what}", LIST_TIMEOUT_SECONDS)
        with self._transport.ask(question) as response:
            self._transport.refuse_inside(question, response, is_list=True)
            if response.ok:
                with self._large.turn() as turn:
                    return self._read(question.what, response, left, turn)
        place = NextPage(place.tail, registry_api.without_count(place.query))
        return self._ask(repository, place, deadline, has_copy=has_copy)

    def _read(self, what: str, response: requests.Response, left: float, turn: LargeTurn) -> _Page:
        document = parse_object(read_document(self._transport.name, what, response, MAX_LIST_SIZE, left, turn=turn))
        # An empty list may be left out, or be null; what lacks the name as well is about something else.
        if document is None or not document.keys() & {"name", "tags"}:
            raise UpstreamError(f"{self._transport.name}'s answer for {what} is no list of tags")
        # Half a million names are parsed, looked at, compared and written in several turns of the loop.
        time.sleep(0)
        listed = document.get("tags")
        # JSON can hold half a character; the URL of a next page cannot.
        tags = [tag for tag in listed if isinstance(tag, str) and tag.isprintable()] if isinstance(listed, list) else []
        return _Page(_unique(tags), following(response, "tags", FIRST_PAGE))


def _unique(names: Sequence[str], known: Container[str] = ()) -> list[str]:
    """Return each name that is not ``known`` once.

    To hash half a million takes a fifth of a second, so others have a turn in between.
    """
    found: dict[str, None] = {}
    for at in range(0, len(names), _TURN):
        time.sleep(0)
        found.update(dict.fromkeys(name for name in names[at : at + _TURN] if name not in known))
    time.sleep(0)
    return list(found)


def _size(names: Collection[str]) -> int:
    """Return about how many bytes of memory the names take."""
    return len(names) * _NAME_SIZE + sum(map(len, names))


def is_by_last(names: Sequence[str], query: str | None, last: str | None) -> bool:
    """Whether a page is the spec's: all behind ``last``, and the next one behind its own last name."""
    if last is not None and any(name <= last for name in names):
        return False
    return query is None or (bool(names) and parse_qs(query).get("last") == [names[-1]])


def behind(names: Sequence[str], last: str | None) -> list[str]:
    """Return the names behind ``last`` in their own order; by the alphabet where ``last`` is none of them any more."""
    if last is None:
        return list(names)
    if last in names:
        return list(names[names.index(last) + 1 :])
    return [name for name in names if name > last]


def following(response: requests.Response, folder: str, first: str) -> NextPage | None:
    """Return the page behind the one in ``response``; as ``next_page``."""
    return next_page(response.raw.headers.getlist("Link"), parse_url(response.url), folder, first)


def _page(count: int | None, last: str | None) -> NextPage:
    return NextPage(FIRST_PAGE, registry_api.tags_query(count, last))
