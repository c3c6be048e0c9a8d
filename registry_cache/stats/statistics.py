"""Read the numbers that last, for the page and for ``registry-cache stats`` and ``pulls``.

Everything comes from the files of ``<root>/statistics``, which one process of the server replaces twice a minute; any
other may read them at any time. Nothing here walks the store. Moments are seconds since the epoch; days are UTC's.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from registry_cache.errors import RegistryError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Repository
from registry_cache.runtime import threadpool
from registry_cache.runtime.event_queue import Change
from registry_cache.stats.calendar import BUCKET_SECONDS, DAY_SECONDS, day_of
from registry_cache.stats.clients import DAYS, Clients, GoneClient
from registry_cache.stats.day import ChangeKind, Day, TopKind
from registry_cache.stats.files import StatisticsFiles
from registry_cache.stats.journal import Entry, Pull, joined
from registry_cache.stats.query import Query
from registry_cache.stats.space_saving import TopEntry, merged
from registry_cache.stats.sums import Sums, total
from registry_cache.store import disk, record_format
from registry_cache.store.layout import Layout
from registry_cache.store.unchanged_files import UnchangedFiles

# Of one answer; a person reads no more, and a page must not be built from more.
MOST_PULLS = 1000
# Requests of which a question for pulls reads at most: the newest.
_MOST_ENTRIES = 500_000


@dataclass(frozen=True, slots=True)
class Bucket:
    """What was counted in ``seconds`` from ``at`` on."""

    at: float
    seconds: int
    sums: Sums


class Statistics:
    """The numbers of one store. Methods raise StoreError where the disk fails; what is not there counts as nothing.

    Keep one for as long as you like, and use it from any thread: files that have not changed are not read again.
    """

    def __init__(self, layout: Layout, now: Callable[[], float] = time.time) -> None:
        self._layout = layout
        self._files = StatisticsFiles(layout)
        self._now = now
        # A day takes milliseconds to read, which clients of this process must not wait for; its sums alone do not.
        self._days = UnchangedFiles(lambda path: threadpool.run(Day.read, path))
        self._day_sums = UnchangedFiles(Day.read_sums)
        # By day and step: the day that it was worked out from, and each span's sums.
        self._spans: dict[tuple[int, int], tuple[Day, dict[int, Sums]]] = {}
        self._clients = UnchangedFiles(lambda path: self._files.read_clients())

    def sums(self, since: float) -> Sums:
        """Return what was counted from ``since`` until now, to five minutes; of days over a month old, whole days.

        Its ``clients`` are the different ones of the whole span.
        """
        found = total(
            day.sums if number > day_of(since) else _since(day, since) for number, day in self._all_days(since)
        )
        came = self._known_clients().count(max(since, self._now() - DAYS * DAY_SECONDS))
        return replace(found, clients=max(found.clients, came))

    def series(self, since: float, step: int) -> list[Bucket]:
        """Return the sums of each ``step`` seconds, a multiple of 300, from the one that holds ``since`` until now.

        Oldest first, without gaps; all begin at multiples of ``step``. 24 h: ``series(now - 86400, 300)``.
        """
        if step <= 0 or step % BUCKET_SECONDS:
            raise ValueError(f"{step} s is not a multiple of {BUCKET_SECONDS}")
        first = int(since // step) * step
        found: dict[int, list[Sums]] = {start: [] for start in range(first, int(self._now()) + 1, step)}
        for number, day in self._all_days(first):
            for slot, sums in self._slots(number, day, step).items():
                if slot in found:
                    found[slot].append(sums)
        return [Bucket(float(start), step, total(sums)) for start, sums in found.items()]

    def by_day(self, since: float) -> list[Bucket]:
        """Return the sums of each day from that of ``since`` on, oldest first; without days of which nothing is known.

        Reads no five minutes: it costs a hundredth of ``series``.
        """
        with disk.store_errors("read the statistics"):
            found = [(number, self._day_sums.get(self._files.day(number))) for number in self._known_days(since)]
        return [Bucket(float(number * DAY_SECONDS), DAY_SECONDS, sums) for number, sums in found]

    def top(self, kind: TopKind, since: float, count: int = 100) -> list[TopEntry]:
        """Return the top names of the days from that of ``since`` on, largest certain amount first.

        ``saved``: images by bytes; ``missed``: images by manifests and blobs that had to be fetched; ``pulled``: images
        by requests for their manifests; ``clients``: by these requests; ``moved``: ``image:tag`` by moves. Of days over
        a month old nothing is known.
        """
        days = [day.tops[kind] for _, day in self._all_days(since) if kind in day.tops]
        return merged(([*each.entries], each.floor) for each in days)[:count]

    def changes(self, since: float, kinds: Sequence[ChangeKind] = ()) -> list[Change]:
        """Return what changed and needs a look, newest first; of some ``kinds`` only, unless there are none.

        Of each day the newest five hundred of a kind.
        """
        found = [
            change
            for _, day in self._all_days(since)
            for change in day.changes
            if change.at >= since and (not kinds or change.kind in kinds)
        ]
        return sorted(found, key=lambda change: change.at, reverse=True)

    def pulls(self, query: str = "", since: float = 0.0, limit: int = MOST_PULLS) -> list[Pull]:
        """Return the last pulls that a ``query`` means, newest first: an image, a client or user, a digest; "" all.

        Empty where the journal is off. See ``query.py`` for what a query may be.
        """
        wanted = Query(query)
        with disk.store_errors("read the journal of pulls"):
            newest = deque(self._entries(wanted, since), maxlen=_MOST_ENTRIES)
        # Each process writes for itself: what one has asked of two of them is not in order.
        ordered = sorted(newest, key=lambda entry: entry.at)
        found = [pull for pull in joined(ordered, cache(self._children)) if wanted.means(pull)]
        return found[::-1][:limit]

    def clients_since(self, since: float) -> int:
        """Return how many clients have come, of those that are known."""
        return self._known_clients().count(since)

    def clients_gone(self, now: float | None = None) -> list[GoneClient]:
        """Return the clients that came regularly and have not been seen since, the most recent first."""
        return self._known_clients().gone(self._now() if now is None else now)

    def _slots(self, number: int, day: Day, step: int) -> dict[int, Sums]:
        """Return a day's sums by the begin of the span of ``step`` seconds that they belong to; remembered per day."""
        known = self._spans.get((number, step))
        if known is None or known[0] is not day:
            slots: dict[int, list[Sums]] = defaultdict(list)
            for start, sums in sorted(day.buckets.items()) or [(number * DAY_SECONDS, day.sums)]:
                slots[start // step * step].append(sums)
            known = self._spans[number, step] = (day, {slot: total(sums) for slot, sums in slots.items()})
        return known[1]

    def _known_days(self, since: float) -> list[int]:
        return [number for number in self._files.known_days() if number >= day_of(since)]

    def _all_days(self, since: float) -> Iterator[tuple[int, Day]]:
        with disk.store_errors("read the statistics"):
            for number in self._known_days(since):
                yield number, self._days.get(self._files.day(number))

    def _known_clients(self) -> Clients:
        with disk.store_errors("read the statistics"):
            return self._clients.get(self._files.clients)

    def _entries(self, wanted: Query, since: float) -> Iterator[Entry]:
        for day, _, path in self._files.journal_pieces():
            if day >= day_of(since):
                for line in wanted.lines(disk.read_whole(path, limit=_MOST_PIECE_BYTES) or b""):
                    entry = Entry.decode(line)
                    if entry and entry.at >= since:
                        yield entry

    def _children(self, upstream: str, repository: str, digest: str) -> Collection[str]:
        """Return the digests that a stored index names; none where it is not here any more."""
        try:
            name = FullName(upstream, Repository.parse(repository))
            path = self._layout.manifest(name, Digest.parse(digest), "json")
            children = record_format.manifest_children(disk.read_whole(path))
        except (RegistryError, OSError):
            return frozenset()
        return frozenset(str(child.digest) for child in children)


def _since(day: Day, since: float) -> Sums:
    """Return the sums of a day from ``since`` on; all of them where the five minutes are gone."""
    if not day.buckets:
        return day.sums
    return total(sums for start, sums in sorted(day.buckets.items()) if start + BUCKET_SECONDS > since)


# A piece of the journal is far smaller; a larger file there is not ours.
_MOST_PIECE_BYTES = 1 << 28
