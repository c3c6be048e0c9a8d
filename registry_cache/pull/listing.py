"""Lists: tags and referrers as upstream has them, the catalog of what is here."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass

from registry_cache.errors import ManifestUnknown, StoreError, TooManyRequests, UpstreamError
from registry_cache.oci import media_types
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Repository, fallback_tag
from registry_cache.pull.manifest import ManifestAnswer, ManifestPull, TagPolicy
from registry_cache.pull.outcome import Outcome
from registry_cache.pull.single_flight import MachineFlights, NoteFormat, TimeLimit
from registry_cache.runtime.log import Log
from registry_cache.store.records import Records
from registry_cache.upstream.client import TagPage, Upstream
from registry_cache.upstream.deadline import run_with_timeout

# What a page of the catalog holds where the client names no number.
CATALOG_PAGE = 100

Descriptor = dict[str, object]
# What refers to a digest, and why that is stale where it is.
_Referrers = tuple[list[Descriptor], str | None]

_log = Log(__name__)


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

    def __init__(self, records: Records, flights: MachineFlights, manifests: ManifestPull) -> None:
        self._records = records
        self._flights = flights
        self._manifests = manifests

    def tags(
        self, upstream: Upstream, repository: Repository, count: int | None, last: str | None, policy: TagPolicy
    ) -> ListAnswer:
        """Return a page of ``count`` tags behind ``last``; those that were pulled through here if upstream is silent.

        Raises NameUnknown, Denied, and upstream's error where nothing was ever pulled.
        """
        if count == 0:
            return ListAnswer(Outcome.HIT, [])
        known = [tag for tag in self._known_tags(upstream, repository) if last is None or tag > last]

        def ask() -> TagPage:
            return upstream.list_tags(repository, count, last, has_copy=bool(known))

        try:
            what = f"asked {upstream.name} for the tags of {repository}"
            page = run_with_timeout(policy.patience, what, ask) if known else ask()
        except (TooManyRequests, UpstreamError) as error:
            if not known:
                raise
            return ListAnswer(Outcome.STALE, *_cut(TagPage(known, None), count), reason=error.message)
        return ListAnswer(Outcome.MISS, *_cut(_behind(page, last), count))

    def referrers(self, upstream: Upstream, repository: Repository, digest: Digest, tags: TagPolicy) -> ReferrersAnswer:
        """Return what refers to ``digest``, by the referrers API or the fallback tag; never 404 (P46).

        Raises Denied, and upstream's error where it is silent and was never asked before.
        """
        kept = self._kept_referrers(upstream, repository, digest)

        def ask() -> _Referrers:
            found, reason = upstream.referrers(repository, digest, has_copy=kept is not None), None
            if found is None:
                found, reason = self._by_tag(upstream, repository, digest, tags)
            if reason is None:
                self._keep_referrers(upstream, repository, digest, found)
            return found, reason

        what = f"asked {upstream.name} for the referrers of {digest} in {repository}"
        limit = None if kept is None else TimeLimit(tags.patience, what)
        try:
            key = f"referrers {upstream.name}/{repository}@{digest}"
            found, reason = self._flights.run(key, ask, _REFERRERS_NOTE, limit)
        except (TooManyRequests, UpstreamError) as error:
            if kept is None:
                raise
            return ReferrersAnswer(Outcome.STALE, kept, error.message)
        return ReferrersAnswer(Outcome.MISS if reason is None else Outcome.STALE, found, reason)

    def catalog(self, upstream: str, count: int | None, last: str | None) -> ListAnswer:
        """Return a page of the repositories that have something here. Raises StoreError."""
        wanted = CATALOG_PAGE if count is None else count
        names = list(itertools.islice(self._records.repositories(upstream, last or ""), wanted + 1))
        more = len(names) > wanted and wanted > 0
        return ListAnswer(Outcome.HIT, names[:wanted], names[wanted - 1] if more else None)

    def _by_tag(
        self, upstream: Upstream, repository: Repository, digest: Digest, tags: TagPolicy
    ) -> tuple[list[Descriptor], str | None]:
        """Return what the fallback tag lists, and why that is stale; nothing where there is no such tag.

        The spec calls it "Referrers Tag Schema".
        """
        try:
            answer = self._manifests.get(upstream, repository, fallback_tag(digest), tags)
        except ManifestUnknown:
            return [], None
        return _listed(answer), answer.reason

    def _known_tags(self, upstream: Upstream, repository: Repository) -> list[str]:
        try:
            return self._records.tags(upstream.name, repository)
        except StoreError as error:
            _log.debug("could not list tags", repository=repository, error=error)
            return []

    def _kept_referrers(self, upstream: Upstream, repository: Repository, digest: Digest) -> list[Descriptor] | None:
        try:
            data = self._records.referrers(upstream.name, repository, digest)
            document = json.loads(data) if data else None
        except (StoreError, ValueError, RecursionError):
            return None
        return _descriptors(document) if isinstance(document, dict) else None

    def _keep_referrers(
        self, upstream: Upstream, repository: Repository, digest: Digest, manifests: list[Descriptor]
    ) -> None:
        document = json.dumps({"manifests": manifests}).encode()
        try:
            if not manifests and not self._known(upstream, repository, digest):
                # Any digest may be asked for; what nobody has must not leave a file.
                return
            self._records.put_referrers(upstream.name, repository, digest, document)
        except StoreError as error:
            _log.debug("could not keep referrers", repository=repository, error=error)

    def _known(self, upstream: Upstream, repository: Repository, digest: Digest) -> bool:
        """Tell whether the digest, or something that refers to it, was ever here. Raises StoreError."""
        if self._records.manifest(upstream.name, repository, digest):
            return True
        return self._records.referrers(upstream.name, repository, digest) is not None


def _cut(page: TagPage, count: int | None) -> tuple[list[str], str | None]:
    """Return at most ``count`` names, and the last where there are more: not every upstream counts."""
    if count is None or len(page.names) <= count:
        return page.names, page.last
    return page.names[:count], page.names[count - 1]


def _behind(page: TagPage, last: str | None) -> TagPage:
    """Return what of ``page`` comes behind ``last``: not every upstream minds where it was asked to go on."""
    names = page.names[page.names.index(last) + 1 :] if last in page.names else page.names
    # A next page that is this one again would be asked for without an end.
    return TagPage(names, page.last if names and page.last != last else None)


def _listed(answer: ManifestAnswer) -> list[Descriptor]:
    """Return what an index lists; nothing where it is none."""
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


# As other processes are told what upstream said.
_REFERRERS_NOTE: NoteFormat[_Referrers] = NoteFormat(
    lambda found: {"manifests": found[0], "reason": found[1]},
    lambda note: (_descriptors(note), None if note["reason"] is None else str(note["reason"])),
)
