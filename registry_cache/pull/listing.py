"""Lists: tags and referrers as upstream has them, the catalog of what is here."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from registry_cache.errors import (
    Denied,
    ManifestUnknown,
    TooManyRequests,
    UpstreamDown,
    UpstreamError,
    UpstreamTimeout,
)
from registry_cache.oci import media_types
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import fallback_tag
from registry_cache.pull.cluster.questions import ALONE, NearQuestions
from registry_cache.pull.manifest import ManifestAnswer, ManifestPull
from registry_cache.pull.outcome import Outcome
from registry_cache.pull.single_flight import MachineFlights, NoteFormat, TimeLimit
from registry_cache.pull.target import PullTarget
from registry_cache.pull.tolerant_records import TolerantRecords
from registry_cache.pull.unknown_referrers import UnknownReferrers
from registry_cache.runtime import threadpool
from registry_cache.runtime.peer_question import SharedQuestion
from registry_cache.store.records import Records
from registry_cache.upstream.deadline import run_with_timeout
from registry_cache.upstream.tag_lists import TagPage

# Entries of a page of the catalog where the client does not ask for a number.
CATALOG_PAGE = 100

# Lists that are asked for at once of one upstream, by a worker. Each may take 8 MiB, and some times that when it is
# parsed. Those who find none free wait for as long as an answer may take.
MAX_LISTS = 4
LIST_WAIT_SECONDS = 8.0

Descriptor = dict[str, object]
# What refers to a digest, and why that is stale where it is.
_Referrers = tuple[list[Descriptor], str | None]


@dataclass(frozen=True, slots=True)
class ListAnswer:
    """A page of names; ``last`` is the last of them where there are more behind it."""

    outcome: Outcome
    names: list[str]
    last: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ReferrersAnswer:
    """Descriptors of what refers to a digest; ``reason`` is why they are stale."""

    outcome: Outcome
    manifests: list[Descriptor]
    reason: str | None = None


class Listing:
    """Lists, for every upstream over one store."""

    def __init__(
        self, records: Records, flights: MachineFlights, manifests: ManifestPull, near: NearQuestions = ALONE
    ) -> None:
        """``near``: what other nodes ask just now."""
        self._near = near
        self._records = records
        self._tolerant = TolerantRecords(records)
        self._unknown = UnknownReferrers(self._tolerant)
        self._flights = flights
        self._manifests = manifests
        self._mutex = threading.Lock()
        self._turns: dict[str, threading.BoundedSemaphore] = {}

    def tags(self, target: PullTarget, count: int | None, last: str | None) -> ListAnswer:
        """Return a page of ``count`` tags behind ``last``; those that were pulled through here if upstream is silent.

        Raises NameUnknown, Denied, and upstream's error where nothing was ever pulled.
        """
        if count == 0:
            return ListAnswer(Outcome.HIT, [])
        known = [tag for tag in self._tolerant.tags(target) if last is None or tag > last]

        def ask() -> TagPage:
            with self._turn(target):
                return target.upstream.list_tags(target.name.repository, count, last, has_copy=bool(known))

        try:
            what = f"asked {target.upstream.name} for the tags of {target.name.repository}"
            page = run_with_timeout(target.tags.timeout_seconds, what, ask) if known else ask()
        except (TooManyRequests, UpstreamError) as error:
            if not known:
                raise
            return ListAnswer(Outcome.STALE, *_cut(TagPage(known, None), count), reason=error.message)
        return ListAnswer(Outcome.MISS, *_cut(_behind(page, last), count))

    def referrers(self, target: PullTarget, digest: Digest) -> ReferrersAnswer:
        """Return what refers to ``digest``, by the referrers API or the fallback tag; never 404 (P46).

        Raises Denied, and upstream's error where it is silent and was never asked before.
        """
        cached, question = self._cached_referrers(target, digest), _question(target, digest)

        def ask_once() -> _Referrers:
            ask = partial(self._ask, target, digest, has_copy=cached is not None)
            found, reason = self._near.ask(question, ask, _REFERRERS_NOTE).value
            # On every node that shared the answer, or it would have none at the next outage.
            if reason is None:
                self._keep_referrers(target, digest, found)
            return found, reason

        what = f"asked {target.upstream.name} for the referrers of {digest} in {target.name.repository}"
        limit = None if cached is None else TimeLimit(target.tags.timeout_seconds, what)
        try:
            found, reason = self._flights.run(str(question), ask_once, _REFERRERS_NOTE, limit)
        except (TooManyRequests, UpstreamError) as error:
            if cached is None:
                raise
            return ReferrersAnswer(Outcome.STALE, cached, error.message)
        return ReferrersAnswer(Outcome.MISS if reason is None else Outcome.STALE, found, reason)

    def answer_referrers(self, target: PullTarget, digest: Digest) -> dict[str, object]:
        """Return for another node what refers to ``digest``, as ``NearQuestions.answer`` does."""
        ask = partial(self._ask, target, digest, has_copy=True)
        return self._near.answer(_question(target, digest), ask, _REFERRERS_NOTE)

    def _ask(self, target: PullTarget, digest: Digest, *, has_copy: bool) -> _Referrers:
        try:
            with self._turn(target):
                found = target.upstream.referrers(target.name.repository, digest, has_copy=has_copy)
        except UpstreamError as error:
            if has_copy or isinstance(error, UpstreamDown | UpstreamTimeout):
                raise
            return self._in_spite_of(error, target, digest)
        return self._by_tag(target, digest) if found is None else (found, None)

    def _in_spite_of(self, error: UpstreamError, target: PullTarget, digest: Digest) -> _Referrers:
        """Return what the fallback tag lists where the API fails, as it may where a path is not known (P46).

        Raises ``error`` where that lists nothing: an empty list would say that nothing is signed.
        """
        try:
            found, reason = self._by_tag(target, digest)
        except (Denied, TooManyRequests, UpstreamError):
            raise error from None
        if not found:
            raise error
        return found, reason

    def catalog(self, upstream: str, count: int | None, last: str | None) -> ListAnswer:
        """Return a page of the repositories that have something here. Raises StoreError."""
        wanted = CATALOG_PAGE if count is None else count
        # Of sixty thousand repositories a page takes a third of a second, in which nobody else would have a turn.
        names = threadpool.run(self._first_repositories, upstream, last or "", wanted + 1)
        more = len(names) > wanted and wanted > 0
        return ListAnswer(Outcome.HIT, names[:wanted], names[wanted - 1] if more else None)

    def _first_repositories(self, upstream: str, after: str, count: int) -> list[str]:
        return list(itertools.islice(self._records.repositories(upstream, after), count))

    @contextmanager
    def _turn(self, target: PullTarget) -> Iterator[None]:
        """Wait for one of the lists that may be asked for at once. Raises TooManyRequests."""
        name = target.upstream.name
        with self._mutex:
            turns = self._turns.setdefault(name, threading.BoundedSemaphore(MAX_LISTS))
        if not turns.acquire(timeout=LIST_WAIT_SECONDS):
            raise TooManyRequests(f"too many lists of {name} are asked for at once; try again", retry_after=1)
        try:
            yield
        finally:
            turns.release()

    def _by_tag(self, target: PullTarget, digest: Digest) -> _Referrers:
        """Return what the fallback tag lists, and why that is stale; nothing where there is no such tag.

        The spec calls it "Referrers Tag Schema".
        """
        try:
            answer = self._manifests.get(target, fallback_tag(digest))
        except ManifestUnknown:
            return [], None
        return _listed(answer), answer.reason

    def _cached_referrers(self, target: PullTarget, digest: Digest) -> list[Descriptor] | None:
        data = self._tolerant.referrers(target, digest)
        try:
            document = json.loads(data) if data else None
        except (ValueError, RecursionError):
            return None
        return _descriptors(document) if isinstance(document, dict) else None

    def _keep_referrers(self, target: PullTarget, digest: Digest, manifests: list[Descriptor]) -> None:
        document = json.dumps({"manifests": manifests}).encode()
        # Megabytes of it are parsed, kept, shared and sent, each in a turn of its own.
        time.sleep(0)
        if self._is_known(target, digest):
            self._tolerant.keep_referrers(target, digest, document)
        elif manifests:
            self._unknown.keep(target, digest, document)

    def _is_known(self, target: PullTarget, digest: Digest) -> bool:
        """Return whether the digest, or something that refers to it, was ever here."""
        return bool(self._tolerant.manifest(target, digest)) or self._tolerant.referrers(target, digest) is not None


def _cut(page: TagPage, count: int | None) -> tuple[list[str], str | None]:
    """Return at most ``count`` names, and the last where there are more: not every upstream heeds the count."""
    if count is None or len(page.names) <= count:
        return page.names, page.last
    return page.names[:count], page.names[count - 1]


def _behind(page: TagPage, last: str | None) -> TagPage:
    """Return the names of ``page`` after ``last``: not every upstream heeds where it was asked to go on."""
    names = page.names[page.names.index(last) + 1 :] if last in page.names else page.names
    # A client would ask for the same next page for ever.
    return TagPage(names, page.last if names and page.last != last else None)


def _listed(answer: ManifestAnswer) -> list[Descriptor]:
    """Return what an index lists; [] for anything else."""
    if answer.media_type != media_types.OCI_INDEX or answer.data is None:
        return []
    try:
        document = json.loads(answer.data)
    except (ValueError, RecursionError):
        return []
    return _descriptors(document) if isinstance(document, dict) else []


def _descriptors(document: Mapping[str, object]) -> list[Descriptor]:
    manifests = document.get("manifests")
    return [each for each in manifests if isinstance(each, dict)] if isinstance(manifests, list) else []


def _question(target: PullTarget, digest: Digest) -> SharedQuestion:
    return SharedQuestion("referrers", *target.name, str(digest))


# How other processes are told what upstream said.
_REFERRERS_NOTE: NoteFormat[_Referrers] = NoteFormat(
    lambda found: {"manifests": found[0], "reason": found[1]},
    lambda note: (_descriptors(note), None if note["reason"] is None else str(note["reason"])),
)
